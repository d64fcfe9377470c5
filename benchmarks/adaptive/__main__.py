"""Runs `benchmarks.adaptive.measure`."""

from benchmarks.adaptive.measure import main

if __name__ == "__main__":
    main()
