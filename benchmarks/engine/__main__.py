"""Runs `benchmarks.engine.measure`."""

from benchmarks.engine.measure import main

if __name__ == "__main__":
    main()
