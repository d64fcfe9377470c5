"""A new SQLite file is there whole or not at all, whatever an earlier process left behind."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from rfprune.tracking.client import connect
from rfprune.tracking.config import TrackingConfig


def names(path: Path) -> set[str]:
    with sqlite3.connect(path) as database:
        rows = database.execute("select name from sqlite_master where type = 'table'").fetchall()
    return {row[0] for row in rows}


def test_what_a_killed_process_left_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    begun = tmp_path / ".mlflow.db.new"
    with sqlite3.connect(begun) as database:
        database.execute("create table experiment_tags (key text)")
    client = connect(TrackingConfig(tracking_uri=f"sqlite:///{path}"))
    assert path.exists()
    assert not begun.exists()
    assert {"runs", "metrics", "alembic_version"} <= names(path)
    created = client.create_experiment("mine")
    assert [e.name for e in connect_again(path).search_experiments()] == ["mine", "Default"]
    assert connect_again(path).get_experiment(created).name == "mine"


def connect_again(path: Path):  # type: ignore[no-untyped-def]
    return connect(TrackingConfig(tracking_uri=f"sqlite:///{path}"))
