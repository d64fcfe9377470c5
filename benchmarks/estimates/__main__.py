"""Runs `benchmarks.estimates.score`."""

from benchmarks.estimates.score import main

if __name__ == "__main__":
    main()
