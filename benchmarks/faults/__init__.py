"""What is done to sweeps to break them, what is expected, and what was found."""
