"""Measurements: each module prints a table, and one JSON object with ``--json``."""
