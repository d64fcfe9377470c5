"""One network, several levels of pruning, a drifting input."""
