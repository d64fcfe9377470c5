"""MLflow: a view of run folders that can be made again at any time.

The only package that imports mlflow, and only when something is written or served.
"""

from rfprune.tracking.config import TrackingConfig, load_config
from rfprune.tracking.ids import run_ids, sweep_id
from rfprune.tracking.projection import Projection, project
from rfprune.tracking.registry import check_model_name, register_model
from rfprune.tracking.server import serve
from rfprune.tracking.tracker import Tracker, TrackerReport
from rfprune.tracking.view import view_path

__all__ = [
    "Projection",
    "Tracker",
    "TrackerReport",
    "TrackingConfig",
    "check_model_name",
    "load_config",
    "project",
    "register_model",
    "run_ids",
    "serve",
    "sweep_id",
    "view_path",
]
