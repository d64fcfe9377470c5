"""What a search saves by stopping in time, and by remembering earlier searches."""
