"""Accuracy against hardware by pruning method."""
