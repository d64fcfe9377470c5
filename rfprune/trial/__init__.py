"""One trial, start to end, in a run folder of its own."""

from rfprune.trial.prepare import Prepared, prepare
from rfprune.trial.restore import Restored, restore
from rfprune.trial.run import run_trial
from rfprune.trial.target import target_of

__all__ = ["Prepared", "Restored", "prepare", "restore", "run_trial", "target_of"]
