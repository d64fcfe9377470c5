"""What users call from Python, and what the commands are thin over.

But for `Point` and `Sweep` each name is a function that does what a command does. ``rfprune`` finds
them here (`rfprune._HOMES`); nothing is imported before it is used, so that a command's help costs
nothing.
"""
