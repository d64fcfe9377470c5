"""The examples in the docstrings of public names run, in the order that a user has.

Public are the names of the package, and the methods and properties of what they return.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import rfprune
from benchmarks.ports import free_port
from docs.site.reference import members, returned
from tests.cli.test_calibrate import project

ROOT = Path(__file__).parents[2]
NAMES = [name for name in rfprune.__all__ if not name.startswith("__")]
#: What others read is made first, and a folder is left before it is cleaned.
FIRST, LAST = ["sweep", "prune", "Point", "submit", "adapt"], ["clean"]

#: What the examples take for granted.
SCENE = """
import webbrowser

import numpy as np
import torch

import rfprune

torch.manual_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(600, 8)).astype("float32")
y = x[:, :3].argmax(axis=1)
images = rng.normal(size=(300, 1, 8, 8)).astype("float32")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(8, 16)
        self.fc2 = torch.nn.Linear(16, 3)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


net = Net()


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(4, 3, batch_first=True)
        self.output = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.output(self.gru(x)[1][-1])


recurrent = Recurrent()


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        self.output = torch.nn.Linear(5, 2)

    def forward(self, x):
        return self.output(torch.bmm(self.query(x), self.key(x).mT).sum(1))


attention = Attention()


def interrupted(address):
    raise KeyboardInterrupt  # as Ctrl-C, once the server answers


webbrowser.open = interrupted
"""
#: What stands beside "mine" before it is compared, exported, and so on.
BESIDE = """
rfprune.sweep(
    model=net, data=(x, y), hardware={"part": "pynq-z2"}, seed=1, train={"epochs": 3},
    prune={"steps": 1, "epochs_per_step": 1}, trials=2, name="other",
    search={"prune.budget.dsp": {"low": 0.2, "high": 0.7}},
)
rfprune.open("mine").best().export("out", rows=50)
rfprune.prune(
    model={"name": "edge_cnn", "args": {"channels": [4, 8]}},
    data=(images, (images.mean(axis=(1, 2, 3)) > 0).astype(int)),
    edge={"device": "raspberry_pi_4"}, train={"epochs": 1},
    prune={"method": "uniform", "budget": {"macs": 0.7}, "steps": 1, "tolerance": 0.9},
    name="edge",
)
rfprune.open("edge").best().export("edge_out")
"""


#: What was sent has to arrive: the network is one of this process alone.
SENT = """
print("".join(rfprune.job(name).logs(follow=True)), flush=True)
assert rfprune.job(name).status().state == "succeeded"
"""
#: What two devices have learned.
LIVED = """
import json
from pathlib import Path

from rfprune.edge.adaptive.runner import Controller

for device, seed in (("a", 0), ("b", 1)):
    Path(device).mkdir()
    table = json.loads(Path("adaptive/controller.json").read_text())
    controller = Controller(table, Path(device) / "state.json")
    for batch in range(30):
        level = controller.decide(images[:8])
        controller.learn(level, 7.0, None, None, 0.5)
"""


def examples(thing: object) -> list[str]:
    """Return the blocks of code in the docstring of a public name."""
    found = re.findall(r"::\n\n((?: {4,}.*\n|\n)+)", f"{inspect.getdoc(thing)}\n")
    return [dedent(block) for block in found if "rfprune." in block]


def examples_of(name: str) -> str:
    """Return the example of a public name, and those of what only it returns."""
    made = [kind for kind, makers in returned().items() if makers[0] == f"rfprune.{name}"]
    things = [getattr(rfprune, name), *made]
    return "\n".join(block for thing in things for block in examples(thing))


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_uses_it(name: str) -> None:
    (example,) = examples(getattr(rfprune, name))
    uses = rf"\brfprune\.{name}\("
    if name in ("Sweep", "Point"):
        # Made by other functions; each of its methods and properties is shown.
        own = [key for key in vars(getattr(rfprune, name)) if not key.startswith("_")]
        uses = "".join(rf"(?=[\s\S]*\.{key}\b)" for key in own)
    assert re.search(uses, example)


@pytest.mark.parametrize(("kind", "makers"), returned().items(), ids=lambda x: str(x)[-30:])
def test_examples_use_all_that_a_result_can_do(kind: type, makers: list[str]) -> None:
    name = makers[0].removeprefix("rfprune.")
    shown = examples_of(name)
    for each in members(kind):
        assert re.search(rf"\.{each}\b", shown), f"{kind.__name__}.{each}"


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path) -> None:
    """One after the other, in a folder and a process of their own."""
    project(tmp_path / "projects", lut=20_000)
    port = free_port()
    order = [*FIRST, *(name for name in NAMES if name not in FIRST + LAST), *LAST]
    parts = [f"print({name!r}, flush=True)\n{examples_of(name)}" for name in order]
    parts[order.index("submit")] += SENT
    lived = len(FIRST)
    program = "\n".join([SCENE, parts[0], BESIDE, *parts[1:lived], LIVED, *parts[lived:]])
    (tmp_path / "examples.py").write_text(program.replace("port=5001", f"port={port}"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),  # the profile ``local`` keeps its runs there
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    ran = subprocess.run(
        [sys.executable, "examples.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-500:] + ran.stderr[-3000:]
