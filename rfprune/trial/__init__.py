"""One trial, start to end, in a run folder of its own."""

from rfprune.trial.restore import restore
from rfprune.trial.run import Prepared, open_session, prepare, run_trial

__all__ = ["Prepared", "open_session", "prepare", "restore", "run_trial"]
