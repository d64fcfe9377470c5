"""Runs `benchmarks.akperl.study`."""

from benchmarks.akperl.study import main

if __name__ == "__main__":
    main()
