"""Two people's ways, from a notebook to a cluster and from a cluster to a notebook.

The cluster's node is a process of its own in a folder of its own: it knows neither the notebook's
network nor the driver's files. What happens to a network of a cell on one machine, up to the
certificate of its export, is in `test_sweeps.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.api.conftest import SETTINGS
from tests.ray_nodes import cluster, environment

ROOT = Path(__file__).parents[2]
SEARCH = {"prune.budget.dsp": {"low": 0.3, "high": 0.8}}

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=1)]

#: The cells of the first one's notebook: network, data, front, choice, export, certificate.
NETWORK = """
import numpy as np
import torch

import rfprune

torch.manual_seed(0)
x = np.random.default_rng(0).normal(size=(240, 6)).astype("float32")
y = x[:, :3].argmax(axis=1)


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(6, 8)
        self.fc2 = torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def smooth(output, target, weight=None):
    return torch.nn.functional.cross_entropy(output, target, label_smoothing=0.05)
"""
SWEEP = """
runs = rfprune.sweep(
    model=Tagger, data=(x, y), task={{"loss": smooth}}, search={search}, trials=2, name="tagger",
    address={address!r}, track=False, **{settings},
)
runs
"""
CHOICE = """
best = runs.best(where="dsp<=1000", max="val_accuracy")
exported = best.export("out", rows=20)
certified = rfprune.certify("out", rows=40, run_code=True)
assert certified.faults == []
assert torch.equal(
    rfprune.load("out", run_code=True)(torch.from_numpy(x)), best.model()(torch.from_numpy(x))
)
runs.trials["state"].tolist()
"""
#: The cells of the second one's.
PICTURES = """
import rfprune

runs = rfprune.open("yours")
runs
"""
MORE = """
runs.html("pictures.html", ["front", "layers", "parallel", "hypervolume"])
runs.plot("parallel")
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder below which each node has its own."""
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def address(nodes: Path) -> Iterator[str]:
    """A cluster of one node."""
    with cluster(nodes, 1) as (found, _):
        yield found


def _notebook(here: Path, *cells: str) -> list[list[dict[str, object]]]:
    """Run cells in the folder `here`; return what each of them showed."""
    pytest.importorskip("nbclient", reason="extra notebook is missing")
    import nbformat
    from nbclient import NotebookClient

    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    NotebookClient(made, timeout=300, resources={"metadata": {"path": str(here)}}).execute()
    return [[output.get("data", {}) for output in cell.outputs] for cell in made.cells]


def test_a_network_of_a_cell_on_a_cluster_to_a_certified_export(
    here: Path, nodes: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_a_driver(monkeypatch)
    sweep = SWEEP.format(search=SEARCH, address=address, settings=SETTINGS)
    shown = _notebook(here, NETWORK, sweep, CHOICE)
    assert "<svg" in str(shown[1][-1]["text/html"])
    assert shown[2][-1]["text/plain"] == "['complete', 'complete']"
    assert (here / "out" / "certificate.json").exists()
    # Nothing of it was written where the node is.
    assert {path.name for path in nodes.iterdir() if path.is_dir()} == {"head", "node 0"}
    assert list(nodes.glob("*/*")) == []


def test_a_file_on_a_cluster_to_the_pictures_of_a_notebook(
    here: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_a_driver(monkeypatch)
    values = {
        "name": "yours",
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "data": {"name": "digits", "train_rows": 200},
        "search": SEARCH,
        "trials": 2,
        **SETTINGS,
    }
    (here / "yours.yml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "rfprune", "sweep", "yours.yml", "--no-track"]
    ran = subprocess.run(
        [*command, "--address", address], cwd=here, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    shown = _notebook(here, PICTURES, MORE)
    assert "<svg" in str(shown[0][-1]["text/html"])
    assert "image/png" in shown[1][-1]
    assert (here / "pictures.html").read_text().count("<svg") == 4


def _as_a_driver(patch: pytest.MonkeyPatch) -> None:
    """Let processes that are started from here find the checkout and the cluster."""
    for name, value in {**environment(), "PYTHONPATH": str(ROOT)}.items():
        if os.environ.get(name) != value:
            patch.setenv(name, value)
