"""Hypervolume against trials: the sampler that `auto` chooses beside random search."""
