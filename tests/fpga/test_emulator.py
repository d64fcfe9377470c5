"""The emulator of an export: the same integers in a process that has numpy alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rfprune.exporting import Request, export
from rfprune.results import TrialFolder

#: Refuses what an emulator must do without.
ALONE = """
import sys
for name in ("torch", "hls4ml", "da4ml", "rfprune"):
    sys.modules[name] = None
sys.path.insert(0, {place!r})
import numpy as np
import rfprune_emulator as emulator
found = emulator.check()
with np.load({vectors!r}) as vectors:
    y = emulator.outputs(vectors[{x!r}][:20])
    same = bool(np.array_equal(y, vectors[{y!r}][:20]))
whole = emulator.integers(np.zeros((2, *emulator.DESIGN["inputs"][0]["shape"])))
print(found, same, whole.dtype)
"""


def emulated(out: Path, x: str, y: str, cache: Path) -> str:
    vectors = str(out / "test_vectors.npz")
    code = ALONE.format(place=str(out / "emulator"), vectors=vectors, x=x, y=y)
    env = {"XDG_CACHE_HOME": str(cache), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.slow
def test_the_cpp_as_a_package(trial: TrialFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(Request(trial, 3, out, rows=40))
    assert emulated(out, "x_scaled", "logits_fixed", tmp_path) == "40 True int64"
    # Nothing was compiled into the export: its checksums hold.
    assert not list(out.rglob("*.so"))
    moved = tmp_path / "elsewhere"
    shutil.copytree(out / "emulator", moved)
    facts = json.loads((moved / "rfprune_emulator/design.json").read_text())
    assert facts["outputs"][0]["shape"] == [10]


def test_an_adder_graph_as_a_package(tmp_path: Path) -> None:
    pytest.importorskip("da4ml", reason="needs the extra da4ml")
    import torch
    from torch import nn

    from rfprune.fpga.adders.chain import chain_of
    from rfprune.fpga.adders.graph import build_graph
    from rfprune.fpga.adders.numbers import CircuitNumbers, calibrate
    from rfprune.fpga.emulator import write_circuit_emulator
    from rfprune.fpga.layers import trace

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    chain = chain_of(trace(model, (4,)))
    numbers = CircuitNumbers.widest(chain, 3, 5)
    numbers.fraction[0] = torch.tensor([3, 4, 2, -1])
    x = torch.randn(300, 4)
    calibrate(chain, model, numbers, x)
    graph = build_graph(chain, model, numbers)
    rows = 3 * x.double().numpy()  # some of it wraps
    built = graph.predict(rows)
    write_circuit_emulator(tmp_path, chain, model, numbers, graph.ports()[1], rows, built)
    np.savez(tmp_path / "test_vectors.npz", x=rows, graph=built)
    assert emulated(tmp_path, "x", "graph", tmp_path) == "200 True int64"
