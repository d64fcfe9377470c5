"""The names that do what the commands beside the sweep do: lists, jobs, upkeep, machines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main

import rfprune
from rfprune.cli.app import app
from rfprune.errors import RunsError, SpecError, UnknownNameError
from tests.api.conftest import SETTINGS, CellNet, X, Y

#: Commands whose Python name is another word; ``rfprune.job`` returns what the three show.
OTHER = {"list": "names", "status": "job", "logs": "job", "cancel": "job"}


def test_every_command_has_a_python_name() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for command in commands:
        name = OTHER.get(command, command.replace("-", "_"))
        assert callable(getattr(rfprune, name)), command


def test_lists_and_schemas() -> None:
    assert "xc7z020" in rfprune.names("parts")
    assert "knapsack" in rfprune.names("methods")
    with pytest.raises(UnknownNameError, match=r"unknown list 'part'\. Did you mean 'parts'\?"):
        rfprune.names("part")
    assert "search" not in rfprune.schema("trial")["properties"]
    with pytest.raises(UnknownNameError, match="unknown file format 'swep'"):
        rfprune.schema("swep")


def test_a_job_that_was_never_sent() -> None:
    with pytest.raises(UnknownNameError, match="'nothing' is not a job"):
        rfprune.job("nothing")


def test_a_sweep_is_checked_before_it_is_sent(here: Path) -> None:
    with pytest.raises(SpecError, match="trials"):
        rfprune.submit("digits", on="background", trials=0)
    with pytest.raises(SpecError, match=r"train\.epohcs"):
        rfprune.submit("digits", on="background", set={"train.epohcs": 3})
    shown = rfprune.submit("digits", on="local", trials=7, dry_run=True)
    assert "trials: 7" in shown
    assert list(here.iterdir()) == []


def test_what_a_finished_run_no_longer_needs_is_freed_when_agreed(here: Path) -> None:
    torch.manual_seed(0)
    trial = rfprune.prune(model=CellNet(), data=(X, Y), name="one", **SETTINGS)
    with pytest.raises(SpecError, match=r"keep: 'frnt'\. Did you mean 'front'"):
        rfprune.clean("one", keep="frnt")
    with pytest.raises(RunsError, match="two"):
        rfprune.clean("two")
    assert trial.best().model() is not None


@pytest.mark.parametrize(
    ("levels", "shown"), [((0, 0.5, 0.5), "0,0.5,0.5"), ((0.2, 0.5), "0.2,0.5"), ((), "")]
)
def test_levels_that_cannot_be(here: Path, levels: Any, shown: str) -> None:
    with pytest.raises(SpecError, match=f"levels: '{shown}' is not a list of levels"):
        rfprune.adapt("none", "out", levels=levels)


def test_levels_of_layers_that_cannot_be(here: Path) -> None:
    with pytest.raises(SpecError, match="not a list of layers and fractions"):
        rfprune.adapt("none", "out", levels=[{}, {"conv": 2.0}])
    with pytest.raises(SpecError, match=r"policy: 'agnt'\. Did you mean 'agent'"):
        rfprune.adapt("none", "out", policy="agnt")


def test_reports_that_are_none(here: Path) -> None:
    with pytest.raises(SpecError, match="no reports are given"):
        rfprune.calibrate()
    with pytest.raises(SpecError, match="no such folder"):
        rfprune.calibrate("nothing")


def test_a_profile_of_this_machine(here: Path) -> None:
    found = rfprune.calibrate_device("mine.yml", threads=1, meter="none")
    assert {"dense", "pointwise"} <= {probe.name for probe in found.probes}
    assert (here / "mine.yml").exists()
    with pytest.raises(SpecError, match="is there already"):
        rfprune.calibrate_device("mine.yml")
    with pytest.raises(SpecError, match="meter: 'watts'"):
        rfprune.calibrate_device("other.yml", meter="watts")
    assert os.listdir(here) == ["mine.yml"]
