"""What a front costs in CPU seconds, by sampler and by how trials are run."""
