"""``rfprune check`` builds the untrained network, and finds what would fail after training."""

from __future__ import annotations

import shutil

import pytest

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.a, self.fc = nn.Linear(8, 8), nn.Linear(16, n_classes)
        self.a.weight.requires_grad_(False)
        self.unused = nn.Linear(3, 3)

    def forward(self, x, mask=None):
        a = 1.0 + torch.relu(self.a(x))
        return self.fc(torch.cat([x, a], dim=1))

def make(n_classes):
    return Net(n_classes)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
def test_from_check_to_export(run, make, workplace) -> None:
    """Frozen and unused layers, an optional argument, a constant on the left, a concatenation."""
    (workplace / "own_network.py").write_text(NETWORK)
    path = make.sweep(model={"name": "own_network:make"}, trials=1)
    checked = run("check", path, "--json")
    assert checked.code == 0, checked.err
    assert any("its C++ is torch's on 8 rows" in note for note in checked.json["notes"])
    assert run("sweep", path).code == 0
    exported = run("export", path, "--out", workplace / "out", "--allow-larger")
    assert exported.code == 0, exported.err
    assert "100" in exported.out or "every" in exported.out


def test_every_searched_type_is_looked_at(run, make) -> None:
    """Not only the first and the last, which are those of the corners of the space."""
    types = ["fixed<16,6>", "fixed<4,1>", "fixed<5,1>", "fixed<18,8>"]
    path = make.sweep(search={"hardware.precision": {"choices": types}})
    notes = run("check", path, "--fast", "--json").json["notes"]
    narrow = [note for note in notes if "is too narrow for the network before training" in note]
    assert {name for name in types for note in narrow if f": {name} is" in note} == set(types[1:3])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        (
            {"train": {"batch_size": 2048}},
            "minibatches of 2048 rows are no faster together on a CPU",
        ),
        ({"train": {"early_stopping": 5}}, None),
        ({"prune": {"fixed_point": True}}, "where prune.fixed_point computes"),
        ({"prune": {"method": "akperl"}}, "where prune.method: akperl trains in its own way"),
        ({"model": {"name": "own_network:drops"}}, "'1' (Dropout) draws random numbers"),
    ],
)
def test_what_is_not_trained_together_is_said(run, make, workplace, changes, words) -> None:
    source = "from torch import nn\n\n\ndef drops(n_classes):\n"
    source += (
        "    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1), nn.Linear(8, n_classes))\n"
    )
    (workplace / "own_network.py").write_text(source)
    path = make.sweep(resources={"together": 4}, **changes)
    notes = run("check", path, "--fast", "--json").json["notes"]
    said = [note for note in notes if "together" in note]
    assert len(said) == (words is not None)
    assert all(words in note for note in said)
