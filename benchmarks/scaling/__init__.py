"""How sweeps grow with workers: measured here on 1, 2 and 4 nodes, simulated up to 10,000."""
