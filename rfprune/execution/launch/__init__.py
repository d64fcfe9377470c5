"""Sends sweeps elsewhere: to the background, a Ray cluster, Slurm or Kubernetes.

Every kind runs the same entry point, the command that a laptop runs, on files that travel with the
job. This package knows profiles, scripts and the clusters' own commands; it does not train or
search.
"""

from rfprune.execution.launch.jobs import Job, JobState
from rfprune.execution.launch.kinds import find_job, render, send
from rfprune.execution.launch.prepared_job import Submission
from rfprune.execution.launch.profiles import list_profiles

__all__ = ["Job", "JobState", "Submission", "find_job", "list_profiles", "render", "send"]
