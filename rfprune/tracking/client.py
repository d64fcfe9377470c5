"""The connection to MLflow: a client, an experiment, and faults as sentences."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rfprune.core.addresses import masked, reveal
from rfprune.errors import RfpruneError, WorkError
from rfprune.tracking.config import TrackingConfig

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "connect",
    "experiment_id",
    "faults_as_sentences",
    "quiet_environment",
    "revealed",
    "shown_uri",
]

#: MLflow's own defaults (7 retries, 120 s) let one call on a dead server last four minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_SQLITE = "sqlite:///"
#: Lets MLflow's web page open the experiment in its view of training runs.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


def quiet_environment() -> dict[str, str]:
    """Return the variables that silence MLflow; values that the user has set are kept."""
    return {name: os.environ.get(name, value) for name, value in (_QUIET | _PATIENCE).items()}


def connect(config: TrackingConfig) -> MlflowClient:
    """Return a client for ``config.tracking_uri``; may create a SQLite file, but sends nothing."""
    # MLflow reads its variables whenever it needs one, so they have to be the process's own.
    os.environ.update(quiet_environment())
    # The tables of a new database are announced line by line; only faults matter here.
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient

    uri = revealed(config.tracking_uri)
    _make_database(uri)
    return MlflowClient(uri, revealed(config.registry.uri or uri))


def _make_database(uri: str) -> None:
    """Let MLflow create a new SQLite file under another name, and rename it once it is complete.

    MLflow creates its tables in some fifty steps; a process that is killed halfway would leave a
    file that MLflow can no longer open ("table ... already exists").
    """
    from mlflow.tracking import MlflowClient

    path = Path(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or path.name in ("", ":memory:") or path.exists():
        return
    made = path.with_name(f".{path.name}.new")
    made.unlink(missing_ok=True)
    MlflowClient(f"{_SQLITE}{made}").search_experiments(max_results=1)
    if not path.exists():
        os.replace(made, path)


def experiment_id(client: MlflowClient, config: TrackingConfig) -> str:
    """Return the id of ``config.experiment``, which is created if it does not exist.

    Raises:
        WorkError: the experiment is deleted in MLflow.
    """
    found = client.get_experiment_by_name(config.experiment)
    if found is None:
        location = None if config.is_server else config.artifact_location
        return str(client.create_experiment(config.experiment, location, dict(_KIND)))
    if found.lifecycle_stage != "active":
        raise WorkError(
            f"experiment '{config.experiment}' has been deleted in MLflow ({config.tracking_uri}). "
            f"Restore it (mlflow experiments restore -x {found.experiment_id}) or name another "
            "one in mlflow.yml."
        )
    return str(found.experiment_id)


@contextmanager
def faults_as_sentences(config: TrackingConfig) -> Iterator[None]:
    """Turn whatever MLflow and its stores raise into one `WorkError` that names the address."""
    try:
        yield
    except RfpruneError:
        raise
    except Exception as error:
        # MLflow passes on what its stores raise (SQLAlchemy, requests, boto3, OSError): no common
        # base but Exception.
        text = str(error).strip().splitlines()
        reason = masked(text[0]) if text else type(error).__name__
        raise WorkError(f"MLflow at {shown_uri(config.tracking_uri)}: {reason}") from error


def shown_uri(uri: str) -> str:
    """Return an address without the user and the password in it."""
    before, at, after = uri.rpartition("@")
    scheme, _, _ = before.partition("://")
    return f"{scheme}://...@{after}" if at and "://" in before else uri


def revealed(uri: str) -> str:
    """Return an address with the variables and files that it names put in.

    Raises:
        SpecError: one of them does not exist.
    """
    return reveal(uri, "mlflow.yml: tracking_uri")
