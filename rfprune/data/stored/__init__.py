"""Data larger than memory: features that stay in their file and are read as they are needed."""
