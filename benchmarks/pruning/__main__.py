"""Runs `benchmarks.pruning.measure`."""

from benchmarks.pruning.measure import main

if __name__ == "__main__":
    main()
