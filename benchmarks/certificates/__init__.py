"""Exports and their certificates; run as ``python -m benchmarks.certificates``."""
