"""One trial, start to end, in a run folder of its own."""

from rfprune.trial.edge import PreparedEdge, prepare_edge
from rfprune.trial.fpga import Prepared, open_session, prepare
from rfprune.trial.restore import restore, restore_edge
from rfprune.trial.run import prepare_any, run_trial

__all__ = [
    "Prepared",
    "PreparedEdge",
    "open_session",
    "prepare",
    "prepare_any",
    "prepare_edge",
    "restore",
    "restore_edge",
    "run_trial",
]
