"""Run folders as in `tests/results`, and tracking settings with a database in a scratch folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from rfprune.tracking import TrackingConfig

_PATH = Path(__file__).parents[1] / "results" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("front_run_folders", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_front = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _front
_SPEC.loader.exec_module(_front)

make = _front.make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let MLflow use what its own dependencies call deprecated; warnings of ours stay errors."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"))


spec_of = _front.spec_of


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database with its tables; making them takes longer than any test here."""
    from rfprune.tracking.client import connect

    path = tmp_path_factory.mktemp("tables") / "mlflow.db"
    connect(TrackingConfig(tracking_uri=f"sqlite:///{path}")).search_experiments()
    return path.read_bytes()


@pytest.fixture
def config(tmp_path: Path, empty_database: bytes) -> TrackingConfig:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    return TrackingConfig(
        tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
        artifact_location=str(tmp_path / "mlartifacts"),
        tags={"team": "trigger"},
    )


@pytest.fixture
def client(config: TrackingConfig):
    from rfprune.tracking.client import connect

    return connect(config)
