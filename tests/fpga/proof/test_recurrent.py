"""The certificate of recurrent layers: exported, proven again, and found out when changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfprune.exporting import Request, export
from rfprune.exporting.certificate import certify
from rfprune.trial.proof import Asked
from tests.fpga.proof.test_faults import edit_weights, flipped, renew, trial_of
from tests.trial.conftest import small

pytestmark = pytest.mark.slow

OWN = """
import numpy as np
from torch import nn

class Cells(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells = getattr(nn, kind)(3, 4, batch_first=True)
        self.output = nn.Linear(4, 2)

    def forward(self, x):
        return self.output(self.cells(x)[0][:, -1])

def cells(kind):
    return Cells(kind)

def rows():
    x = np.random.default_rng(0).normal(size=(300, 5, 3)).astype(np.float32)
    return {"x_train": x, "y_train": (x[:, -1].sum(1) > 0).astype(np.int64)}
"""
#: Above and below the 3 inputs and 4 units, so that hls4ml has another loop for each weight.
FACTORS = {"cells-weight_ih_l0": 6, "cells-weight_hh_l0": 2}


@pytest.mark.parametrize(("kind", "strategy"), [("GRU", "resource_unrolled"), ("LSTM", "resource")])
def test_a_recurrent_layer_is_certified(kind: str, strategy: str, tmp_path: Path) -> None:
    (tmp_path / "own_cells.py").write_text(OWN)
    layers = {name: {"reuse_factor": factor} for name, factor in FACTORS.items()}
    drops = strategy == "resource_unrolled"
    spec = small(
        model={"name": "own_cells:cells", "args": {"kind": kind}},
        data={"name": None, "train_rows": None, "function": "own_cells:rows"},
        hardware={"reuse_factor": 1, "layers": {"cells": {"strategy": strategy}, **layers}},
        train={"epochs": 2},
        prune={"budget": {"dsp": 0.6 if drops else 0.99}, "steps": 1, "tolerance": 0.9},
    )
    trial = trial_of(tmp_path, spec)
    out = tmp_path / "out"
    export(Request(trial, 1, out, rows=20))
    found = certify(out, Asked(run_code=True))
    assert found.faults == []
    certificate = found.certificate
    assert [path["name"] for path in certificate["paths"]] == ["torch", "graph", "cpp"]
    assert all(each["equal"] for each in certificate["compared"])
    step = trial.steps()[-1]
    assert {f"cells-weight_{name}_l0" for name in ("ih", "hh")} < set(step.live)
    # The second weight is not the one that was trained.
    (name,) = {path.stem for path in (out / "hls/firmware/weights").glob("wr*.txt")}
    edit_weights(out, name, flipped)
    renew(out)
    assert any("cells" in text for text in certify(out, Asked(run_code=True)).faults)
