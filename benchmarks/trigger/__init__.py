"""Networks of a Level-1 trigger, from check to export; run as ``python -m benchmarks.trigger``."""
