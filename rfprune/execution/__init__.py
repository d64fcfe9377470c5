"""Execution: Ray runs the trials that a study asks for, here or on a cluster.

The only room that drives Ray Tune: `rfprune.execution.drive`; `launch` sends whole sweeps to
clusters and needs none of it. That is why this package imports nothing.
"""
