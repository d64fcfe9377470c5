"""Sends sweeps elsewhere: to the background, a Ray cluster, Slurm or Kubernetes.

Every kind runs the same entry point, the command that a laptop runs, on files that travel with the
job. This room knows profiles, texts and the clusters' own commands; it neither trains nor searches.
"""

from rfprune.launch.jobs import Job, JobState
from rfprune.launch.kinds import find_job, render, send
from rfprune.launch.plan import Submission
from rfprune.launch.profiles import list_profiles

__all__ = ["Job", "JobState", "Submission", "find_job", "list_profiles", "render", "send"]
