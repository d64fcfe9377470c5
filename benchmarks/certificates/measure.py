"""Networks pruned, exported and certified, with the time that each of it takes."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.layers.cases import CASES, Case
from benchmarks.layers.prove import seeded
from benchmarks.report import read_cases, settings
from benchmarks.trigger import data
from rfprune.core.named import Named
from rfprune.exporting import Request, export
from rfprune.exporting.certificate import certify
from rfprune.fpga.estimators.ports import TOP
from rfprune.fpga.hls import compiled, convert
from rfprune.fpga.layers import Plan, plan, trace
from rfprune.fpga.proof.circuit import CircuitPaths
from rfprune.fpga.proof.hls import prove_paths
from rfprune.fpga.rehearsal import rehearse
from rfprune.fpga.unrolled.circuit import build_unrolled
from rfprune.fpga.unrolled.deployment import check_unrolled
from rfprune.fpga.unrolled.proof import prove_unrolled
from rfprune.fpga.unrolled.sources import write_sources
from rfprune.results import TrialFolder
from rfprune.spec import HardwareSpec, TrialSpec
from rfprune.trial.proof import Asked, Proof
from rfprune.trial.run import run_trial

__all__ = ["certified_jets", "checked", "exhaustive", "unrolled"]

_TRIGGER = Path(data.__file__).parent
#: Rows of which a shape of a sample makes an input for `check`.
_ROWS = 8


class Clock:
    """Seconds that have passed, and seconds of processors, children's too."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what happens inside."""
        wall, cpu = time.monotonic(), _processor()
        yield
        self.wall += time.monotonic() - wall
        self.cpu += _processor() - cpu

    def shown(self, name: str) -> dict[str, float]:
        """Return both as columns."""
        return {f"{name} s": round(self.wall, 1), f"{name} cpu s": round(self.cpu, 1)}


def _processor() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _trained(folder: Path, content: dict[str, Any]) -> TrialFolder:
    """Return the folder of a trial that has run."""
    (folder / "trial.json").write_text(json.dumps({"base_dir": str(folder)}))
    trial = TrialFolder(folder / "trials" / "0000")
    run_trial(TrialSpec.model_validate(content), trial, dense_dir=folder / "dense", base_dir=folder)
    return trial


def unrolled(name: str, number: int, folder: Path, rows: int, seed: int) -> dict[str, Any]:
    """Return what the export of one trigger network by the second path proves, and its times."""
    case = read_cases("certificates")["unrolled"]
    arrays = getattr(data, name)(np.random.default_rng([seed, number]), rows)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    shutil.copy(_TRIGGER / "networks.py", folder / "unrolled_networks.py")
    own = {"model": {"name": f"unrolled_networks:{name}"}, "data": {"file": f"{name}.npz"}}
    trial = _trained(folder, settings(case["common"], case["networks"][name], own))
    step, clock = trial.steps()[-1], Clock()
    with clock.running():
        export(Request(trial, step.step, folder / "out"))
    found = json.loads((folder / "out" / "certificate.json").read_text())
    score = next(key for key in step.values if key.startswith("val_"))
    return {
        "network": name,
        score: step.values[score],
        **_compared(found["compared"]),
        "lut (graph)": found["counted"]["graph"]["lut"],
        "lut (Yosys)": found["counted"].get("netlist", {}).get("lut"),
        "ff": found["counted"]["graph"]["ff"],
        "cycles": found["counted"]["graph"]["latency_cycles"],
        **clock.shown("export"),
        "notes": found["notes"],
    }


def _compared(compared: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rows of each path, bit for bit; None where it was not compared."""
    found: dict[str, Any] = {}
    for path in ("graph", "rtl", "netlist", "cpp"):
        same = [each for each in compared if each["b"] == path and each["tolerance"] == 0]
        equal = bool(same) and same[-1]["equal"] and same[-1]["largest_error"] == 0
        found[f"{path} = torch"] = (
            f"{same[-1]['rows']:,}" if equal else ("**no**" if same else None)
        )
    return found


def certified_jets(folder: Path, seed: int) -> dict[str, Any]:
    """Return the time that ``rfprune certify`` takes for the jet network."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(4000, 16)).astype(np.float32), rng.integers(0, 5, 4000)
    x[:, :5] += 1.5 * np.eye(5)[y]
    parts = {"x_train": x[:3000], "y_train": y[:3000], "x_test": x[3000:], "y_test": y[3000:]}
    np.savez_compressed(folder / "jets.npz", **parts)
    trial = _trained(
        folder, settings(read_cases("certificates")["compiled"], {"data": {"file": "jets.npz"}})
    )
    exporting, certifying = Clock(), Clock()
    with exporting.running():
        export(Request(trial, 1, folder / "out"))
    with certifying.running():
        found = certify(folder / "out")
    same = [each for each in found.certificate["compared"] if each["b"] == "cpp"]
    faults = len(found.faults)
    times = {**exporting.shown("export"), **certifying.shown("certify")}
    return {"rows": same[0]["rows"], "equal": same[0]["equal"], "faults": faults, **times}


def exhaustive(folder: Path) -> list[dict[str, Any]]:
    """Return the comparisons of one network of 8 bits on all inputs that there are, by path."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    asked, rows = Asked(exhaustive=True), []
    common = {"precision": "fixed<8,3,RND,SAT>", "reuse_factor": 1}
    ways: dict[str, Callable[[Plan], Proof]] = {
        "Vitis": lambda planned: _by_hls4ml(model, planned, folder / "hls", asked),
        "alkaid": lambda planned: _by_alkaid(model, planned, folder / "unrolled", asked),
    }
    for backend, prove in ways.items():
        strategy = "latency" if backend == "Vitis" else "distributed_arithmetic"
        hardware = {**common, "backend": backend, "strategy": strategy}
        planned, clock = plan(trace(model, (2,)), HardwareSpec.model_validate(hardware)), Clock()
        with clock.running():
            proof = prove(planned)
        for each in proof.compared:
            same = {"a": each.a, "b": each.b, "rows": each.rows, "equal": each.equal}
            rows.append({"backend": backend, **same, "largest error": each.largest_error})
        rows[-1] |= clock.shown("all of it")
    return rows


def _by_hls4ml(model: nn.Module, planned: Plan, folder: Path, asked: Asked) -> Proof:
    conversion = convert(model, planned, folder)
    conversion.write()
    with compiled(conversion) as simulation:
        return prove_paths(conversion, model, None, asked, simulation)


def _by_alkaid(model: nn.Module, planned: Plan, folder: Path, asked: Asked) -> Proof:
    graph = build_unrolled(model, planned)
    graph.write_verilog(folder / "rtl", TOP)
    write_sources(folder, planned, graph, None)
    return prove_unrolled(planned, model, CircuitPaths(graph, folder / "rtl"), None, asked)


def checked(path: str, largest: int) -> list[dict[str, Any]]:
    """Return how long the untrained networks of the table take to be checked, the slowest first.

    Args:
        path: a path of the table.
        largest: so many networks with the most operations; 0 = all.
    """
    taken = [case for case in CASES if not case.outcome[path].startswith("refused")]
    made = {case.written: _planned(case, path) for case in taken}
    order = sorted(taken, key=lambda case: -len(made[case.written][1].network.operations))
    rows = []
    for case in order[: largest or None]:
        (model, planned), clock = made[case.written], Clock()
        with clock.running(), torch.no_grad():
            _check(model, planned, case)
        rows.append({"path": path, "network": f"`{case.written}`", **clock.shown("check")})
    return sorted(rows, key=lambda row: -row["check cpu s"])


def _planned(case: Case, path: str) -> tuple[nn.Module, Plan]:
    with seeded(0):
        model = case.make().eval()
    return model, plan(trace(model, case.shape), HardwareSpec.model_validate(case.settings(path)))


def _check(model: nn.Module, planned: Plan, case: Case) -> None:
    """Build an untrained network as ``rfprune check`` does."""
    if planned.hardware.backend == "alkaid":
        check_unrolled(planned.hardware)
        build_unrolled(model, planned)
        return
    named = isinstance(case.shape, dict)
    shapes = case.shape if isinstance(case.shape, dict) else {"x": case.shape}
    rows = {name: torch.rand(_ROWS, *shape) for name, shape in shapes.items()}
    rehearse(model, planned, Named(rows) if named else rows["x"])
