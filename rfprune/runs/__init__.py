"""Run folders and their records: the truth of trials and sweeps, readable without torch."""

from rfprune.runs.folders import SweepFolder, TrialFolder, find_sweep
from rfprune.runs.records import Provenance, StepRecord, TrialResult

__all__ = [
    "Provenance",
    "StepRecord",
    "SweepFolder",
    "TrialFolder",
    "TrialResult",
    "find_sweep",
]
