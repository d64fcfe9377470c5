"""Runs `benchmarks.scaling.measure`."""

from benchmarks.scaling.measure import main

if __name__ == "__main__":
    main()
