"""Whole ways: begun in Python and continued by a command, and the other way round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import rfprune
from rfprune.study.events import SweepEvent
from tests.api.conftest import SETTINGS, CellNet, X, Y

SEARCH = {"prune.budget.dsp": {"low": 0.3, "high": 0.8}}


def own_loss(output: torch.Tensor, target: torch.Tensor, weight: object = None) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(output, target, label_smoothing=0.05)


def _command(*arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "rfprune", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_a_network_in_a_cell_to_a_front_and_an_export(here: Path) -> None:
    torch.manual_seed(0)
    seen: list[SweepEvent] = []
    steps: list[SweepEvent] = []
    found = rfprune.sweep(
        model=CellNet(),
        data=(X, Y),
        search=SEARCH,
        trials=2,
        name="mine",
        track=False,
        progress=False,
        on_trial=seen.append,
        on_step=steps.append,
        task={"loss": own_loss},
        **SETTINGS,
    )
    assert [event.kind for event in seen] == ["complete"] * 2
    assert len(steps) == 6
    best = found.best(where="dsp<=1000", max="val_accuracy")
    exported = best.export("out", rows=20)
    assert (exported.out / "given").is_dir()
    network = rfprune.load("out", run_code=True)
    assert torch.equal(network(torch.from_numpy(X)), best.model()(torch.from_numpy(X)))
    certified = rfprune.certify("out", rows=40, run_code=True)
    assert certified.faults == []
    # Another process, without this test's modules, goes on with it, as does a second call here.
    out = _command("sweep", "mine", "--trials", "3", "--no-track")
    assert "3 of 3 trials complete" in out
    assert len(json.loads(_command("pareto", "mine", "--json"))["front"]) >= 1
    again = found.resume(trials=4, progress=False, track=False)
    assert len(again.trials) == 4
    assert len(found.refresh().trials) == 4


@pytest.mark.long
@pytest.mark.slow
def test_a_file_run_by_a_command_is_opened_and_continued_in_python(here: Path) -> None:
    values = {
        "name": "filed",
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "data": {"name": "digits", "train_rows": 200},
        "search": SEARCH,
        "trials": 1,
        **SETTINGS,
    }
    Path("filed.yml").write_text(yaml.safe_dump(values))
    _command("sweep", "filed.yml", "--no-track")
    opened = rfprune.open("filed")
    assert opened.trials["state"].tolist() == ["complete"]
    elsewhere = rfprune.retarget("filed", {"hardware.part": "zcu102"}, name="elsewhere")
    assert elsewhere.trials["state"].tolist() == ["complete"]
    assert len(elsewhere.points) == len(opened.points)
    more = rfprune.sweep("filed.yml", trials=2, progress=False, track=False)
    assert len(more.trials) == 2
    assert more.plot("hypervolume").axes
