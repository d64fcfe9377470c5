"""AKPERL beside static pruning on photos."""
