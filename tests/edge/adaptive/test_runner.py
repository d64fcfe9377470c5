"""The runner without torch: what it decides, what it learns, and that a kill loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfprune.edge.adaptive import LevelTable, measure_levels
from rfprune.edge.adaptive.device_files import LIMITS, write_device_files
from rfprune.edge.adaptive.runner import Controller, Runner, statistics
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.monitor import DEVICES, input_statistics
from rfprune.spec import EdgeSpec
from rfprune.tasks import TaskSpec, make_task
from tests.edge.adaptive.made import dark, images, noisy, slimmable

#: Three levels under two conditions that the mean of a row tells apart.
TABLE: dict[str, Any] = {
    "mean": [[0.0, 0.0], [5.0, 0.0]],
    "scale": [1.0, 1.0],
    "accuracy": [[0.95, 0.93, 0.80], [0.90, 0.70, 0.50]],
    "confidence": [[0.9, 0.9, 0.9], [0.9, 0.9, 0.9]],
    "power_mw": [1000.0, 600.0, 300.0],
    "energy_mj": [10.0, 6.0, 3.0],
    "ms": [10.0, 6.0, 3.0],
    "least_accuracy": 0.92,
    "digest": "made up",
    "limits": {**LIMITS, "explore": 0.0, "save_every": 1},
}
EASY, HARD = np.zeros((4, 2)), np.full((4, 2), 5.0)


def controller(path: Path | None = None, **limits: float) -> Controller:
    return Controller({**TABLE, "limits": {**TABLE["limits"], **limits}}, path)


@pytest.mark.parametrize("shape", [(8, 3, 16, 16), (5, 1, 9, 7), (6, 12), (4, 3, 4, 4)])
def test_statistics_are_those_of_the_monitor(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert np.allclose(statistics(x.numpy()), input_statistics(x).mean, rtol=1e-4)


def test_harder_inputs_get_more_and_budgets_are_kept() -> None:
    def first(x: Any, **budgets: float) -> int:
        return controller().decide(x, **budgets)

    assert [first(EASY), first(HARD)] == [1, 0]
    assert [first(HARD, power_mw=700), first(HARD, power_mw=100)] == [1, 2]
    assert [first(HARD, ms=7), first(HARD, ms=1)] == [1, 2]
    kept = controller()
    assert [kept.decide(x) for x in (EASY, HARD, HARD, HARD)] == [1, 1, 1, 0], "it flutters"
    assert kept.decide(HARD, power_mw=400) == 2, "what is above the budget is left at once"


def test_it_learns_from_labels_and_from_confidence_within_its_limits() -> None:
    for shown in ({"sure": None, "right": 0.2}, {"sure": 0.1, "right": None}):
        learning = controller(prior=1)
        assert learning.decide(EASY) == 1
        for _ in range(30):
            level = learning.decide(EASY)
            if level == 0:
                break
            learning.learn(level, 6.0, mj=None, **shown)
        assert learning.decide(EASY) == 0, "a level that is worse than the table said is left"
        assert -LIMITS["shift"] <= learning.state["shift"][0][1] < 0
        assert learning.state["shift"][1] == [0, 0, 0], "of the other condition nothing was seen"


def test_it_learns_what_the_device_takes() -> None:
    learning = controller()
    for _ in range(40):
        learning.learn_at = learning.decide(EASY, power_mw=700)
        learning.learn(1, 20.0, None, 12.0, None)
    # Twice the energy that the profile says: 1200 mW, which no longer fits.
    assert learning.state["ratio"][1] == pytest.approx(2.0, rel=0.05)
    assert learning.decide(EASY, power_mw=700) == 2
    for _ in range(400):
        learning.decide(EASY)
        learning.learn(1, 20.0, None, 1e6, None)
    assert learning.state["ratio"][1] == LIMITS["ratio"], "a broken counter does not run away"


def test_what_is_tried_is_nearly_good_enough_and_within_the_budget() -> None:
    trying = controller(explore=1.0, margin=0.05)
    trying.table["least_accuracy"] = 0.94
    assert trying.decide(EASY) == 1, "0.93 is within 0.05 of 0.94"
    assert trying.decide(HARD) == 0, "0.7 is not"
    assert trying.decide(EASY, power_mw=400) == 2


@pytest.mark.parametrize("damage", ["", "{", '{"table": "made up"}', '{"table": "other"}', "[1]"])
def test_a_damaged_or_foreign_state_is_not_taken(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(damage)
    begun = controller(path)
    assert begun.state["batches"] == 0
    begun.decide(EASY)
    begun.learn(1, 5.0, 0.8, None, None)
    assert controller(path).state == begun.state


KILLED = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from rfprune.edge.adaptive.runner import Controller
table = json.loads(Path(sys.argv[1]).read_text())
control = Controller(table, Path(sys.argv[2]))
replace, count = os.replace, iter(range(100))
def dying(*names):
    if next(count) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)
os.replace = dying
while True:
    control.decide(np.zeros((4, 2)))
    control.learn(1, 5.0, 0.5, 7.0, None)
"""


def test_a_kill_while_it_writes_loses_one_batch(tmp_path: Path) -> None:
    table, state = tmp_path / "table.json", tmp_path / "state.json"
    table.write_text(json.dumps(TABLE))
    done = subprocess.run([sys.executable, "-c", KILLED, table, state], check=False)
    assert done.returncode == -9
    alone = controller()
    for _ in range(7):
        alone.decide(EASY)
        alone.learn(1, 5.0, 0.5, 7.0, None)
    again = controller(state)
    assert again.state == alone.state
    assert again.decide(EASY) == alone.decide(EASY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as ``rfprune adapt --onnx`` makes it, of a network that was not fitted."""
    from types import SimpleNamespace

    pytest.importorskip("onnxruntime", reason="the package onnxruntime is missing")
    network, task = slimmable().eval(), make_task(TaskSpec())
    x, y = images(60)
    rows = {"clean": x, "noisy": noisy(x), "dark": dark(x)}
    costs = EdgeCosts(network.levels.kernels, DEVICES["raspberry_pi_4"], EdgeSpec())
    readings = [costs.readings(masks.kept) for masks in network.levels.masks]
    table: LevelTable = measure_levels(network, rows, y, [found.power for found in readings])
    home = tmp_path_factory.mktemp("device")
    data: Any = SimpleNamespace(offset=torch.zeros(1), scale=torch.full((1,), 2.0))
    write_device_files(home, network, table, readings, rows, data, task, 0.5)
    torch.save([network.at(level)(x) for level in range(4)], home / "outputs.pt")
    np.save(home / "rows.npy", 2 * x.numpy())
    return home


def test_every_level_computes_what_torch_computes(folder: Path, tmp_path: Path) -> None:
    energy = tmp_path / "energy_uj"
    energy.write_text("5\n")
    runner = Runner(folder, energy, tmp_path / "state.json")
    rows, expected = np.load(folder / "rows.npy"), torch.load(folder / "outputs.pt")
    power = runner.table["power_mw"]
    for budget in (None, power[1] + 1, power[2] + 1, power[3] + 1):
        outputs, level = runner(rows, power_mw=budget)
        assert np.allclose(outputs, expected[level].detach(), atol=1e-4)
        assert budget is None or power[level] <= budget
    assert runner.controller.state["batches"] == 4


def test_the_runner_needs_no_torch_and_no_rfprune(folder: Path) -> None:
    script = (
        "import runpy, sys; sys.argv = ['runner.py', '.', 'rows.npy', '--batch', '20']; "
        "runpy.run_path('runner.py', run_name='__main__'); "
        "print(sorted({'torch', 'rfprune'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *batches, last = done.stdout.splitlines()
    assert [line.split()[0] for line in batches] == ["0", "20", "40"]
    assert all(len(line.split()) == 22 for line in batches)
    assert last == "[]"
