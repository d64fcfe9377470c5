"""Runs `benchmarks.knapsack.measure`."""

from benchmarks.knapsack.measure import main

if __name__ == "__main__":
    main()
