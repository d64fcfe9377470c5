"""What an export of the second path holds: each language run on the bench's rows, the emulator."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.layers.cases import CASES, Case
from benchmarks.layers.prove import seeded
from rfprune.core.named import InputShape
from rfprune.errors import MissingExtraError
from rfprune.fpga.estimators.ports import TOP
from rfprune.fpga.estimators.yosys import find_yosys
from rfprune.fpga.layers import Plan, plan, trace
from rfprune.fpga.proof.netlist import synthesised
from rfprune.fpga.proof.rows import kinds_of, proof_rows
from rfprune.fpga.unrolled.circuit import UnrolledGraph, build_unrolled
from rfprune.fpga.unrolled.cpp import run_cpp
from rfprune.fpga.unrolled.proof import flat_inputs, in_types
from rfprune.fpga.unrolled.sources import Vectors, check_sources, write_sources
from rfprune.spec import HardwareSpec
from rfprune.trial.proof import Proof
from tests.fpga.test_emulator import emulated
from tests.fpga.unrolled.test_unrolled import Events

pytest.importorskip("alkaid")
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")

PROVEN = [case for case in CASES if not case.outcome["alkaid"].startswith("refused")]


@dataclass(frozen=True)
class Written:
    """A network and its sources."""

    folder: Path
    plan: Plan
    graph: UnrolledGraph
    known: Vectors

    @property
    def own(self) -> tuple[Path, Plan, UnrolledGraph, Vectors]:
        """What is written, and what is compared with it."""
        return self.folder, self.plan, self.graph, self.known


def written(
    make: Callable[[], torch.nn.Module], shape: InputShape, hardware: object, folder: Path
) -> Written:
    with seeded(0):
        model = make().eval()
    built = plan(trace(model, shape), HardwareSpec.model_validate(hardware))
    graph = build_unrolled(model, built)
    x = proof_rows(kinds_of(built), None, 60, False).x
    known = Vectors(x, flat_inputs(built, x), in_types(built, model, x))
    write_sources(folder, built, graph, known)
    return Written(folder, built, graph, known)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Two inputs, a convolution, a table, products, two outputs."""
    hardware = {"backend": "alkaid", "strategy": "distributed_arithmetic", "part": "zcu102"}
    hardware |= {"precision": "fixed<8,3,RND,SAT>", "clock_ns": 3.3}
    shape = {"x": (2, 5), "y": (3,)}
    return written(Events, shape, hardware, tmp_path_factory.mktemp("events"))


@pytest.mark.parametrize("case", PROVEN, ids=[f"{c.group}: {c.written}" for c in PROVEN])
def test_the_emulator_of_every_case(case: Case, tmp_path: Path) -> None:
    written(case.make, case.shape, case.settings("alkaid"), tmp_path)
    code = "import rfprune_emulator; print(rfprune_emulator.check())"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "emulator", capture_output=True, text=True
    )
    assert ran.stdout.strip() == "60", ran.stderr


def test_the_emulator_alone(tmp_path: Path) -> None:
    case = next(case for case in PROVEN if case.written == "nn.Conv1d")
    found = written(case.make, case.shape, case.settings("alkaid"), tmp_path)
    shape = found.known.y.shape
    np.savez(
        tmp_path / "test_vectors.npz",
        x=found.known.x.numpy(),
        y=found.known.y.reshape(shape[0], *found.plan.network.operations[-1].out_shape),
    )
    assert emulated(tmp_path, "x", "y", tmp_path) == "60 True int64"


def test_settings_reach_scripts_and_constraints(events: Written) -> None:
    for place in ("rtl/build_vivado_prj.tcl", "vhdl/build_vivado_prj.tcl"):
        assert '"xczu9eg-ffvb1156-2-e"' in (events.folder / place).read_text()
    for place in ("rtl/src/network.xdc", "vhdl/src/network.xdc", "vitis/build_vitis_prj.tcl"):
        assert "3.3" in (events.folder / place).read_text()
    # What alkaid needs for itself is no part of a design.
    assert not [path for path in events.folder.rglob("*") if path.name in ("sim", "model")]


def test_every_file_is_compared(events: Written, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(events.folder, folder)
    found = Proof()
    check_sources(folder, events.plan, events.graph, events.known, found)
    assert found.faults == []
    changed = ("rtl/src/network.xdc", "vhdl/src/logic0.vhd", "vitis/src/network.hh")
    changed += ("emulator/rfprune_emulator/graph.npz", "rtl/build_yosys.sh")
    for name in changed:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-2])
    (folder / "vhdl/tb/tb.vhd").unlink()
    (folder / "vitis/more.hh").touch()
    check_sources(folder, events.plan, events.graph, events.known, found)
    places = [fault.partition(":")[0] for fault in found.faults]
    assert sorted(places) == sorted([*changed, "vhdl/tb/tb.vhd", "vitis/more.hh"])


def said(bench: Path, comment: str) -> list[str]:
    """Return the commands that a test bench itself names."""
    prompt, lines = f"{comment} $ ", bench.read_text().splitlines()
    return [line.removeprefix(prompt) for line in lines if line.startswith(prompt)]


def ran(commands: list[str], folder: Path) -> str:
    command = " && ".join(commands)
    found = subprocess.run(command, cwd=folder, shell=True, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:] + found.stdout[-2000:]
    return found.stdout + found.stderr


@pytest.mark.slow
def test_the_bench_in_verilog(events: Written, tmp_path: Path) -> None:
    if shutil.which("verilator") is None:
        pytest.skip("verilator is not on PATH")
    folder = tmp_path / "rtl"
    shutil.copytree(events.folder / "rtl", folder)
    assert "PASS: 60 rows" in ran(said(folder / "tb/tb.v", "//")[-2:], folder)
    rows = (folder / "tb/outputs.hex").read_text().splitlines()
    rows[7] = format(int(rows[7], 16) ^ 1, "x")
    (folder / "tb/outputs.hex").write_text("".join(f"{row}\n" for row in rows))
    assert "FAIL: 1 of 60 rows" in ran(["obj_dir/Vtb"], folder)


@pytest.mark.slow
def test_the_bench_in_vhdl(events: Written, tmp_path: Path) -> None:
    if shutil.which("ghdl") is None:
        pytest.skip("ghdl is not on PATH")
    folder = tmp_path / "vhdl"
    shutil.copytree(events.folder / "vhdl", folder)
    assert "PASS: 60 rows" in ran(said(folder / "tb/tb.vhd", "--"), folder)


@pytest.mark.slow
def test_the_cpp_for_vitis(events: Written) -> None:
    found, _ = run_cpp(events.folder / "vitis", events.known.flat, events.known.y.shape[1])
    assert np.array_equal(found, events.known.y)


@pytest.mark.slow
def test_the_script_for_yosys_counts_what_the_certificate_does(tmp_path: Path) -> None:
    try:
        program = find_yosys()
    except MissingExtraError as error:
        pytest.skip(str(error))
    case = next(case for case in PROVEN if case.written == "nn.Linear")
    written(case.make, case.shape, case.settings("alkaid"), tmp_path)
    ran([f"YOSYS={program} sh rtl/build_yosys.sh"], tmp_path)
    cells = [line.split() for line in (tmp_path / "rtl/yosys.log").read_text().splitlines()]
    luts = sum(int(w) for line in cells for w in line if w.isdigit() and line[-1][:3] == "LUT")
    assert luts == synthesised(tmp_path / "rtl/src", TOP).counted.lut > 0


@pytest.mark.slow
def test_the_emulator_becomes_a_wheel(events: Written, tmp_path: Path) -> None:
    shutil.copytree(events.folder / "emulator", tmp_path / "emulator")
    pip = f"{sys.executable} -m pip wheel -q --no-deps --no-build-isolation"
    try:
        ran([f"{pip} -w wheels ./emulator"], tmp_path)
    except AssertionError as error:
        if "setuptools" not in str(error):
            raise
        pytest.skip("setuptools is not installed")
    (wheel,) = (tmp_path / "wheels").glob("rfprune_emulator-*.whl")
    code = "import rfprune_emulator; print(rfprune_emulator.check())"
    shutil.unpack_archive(str(wheel), tmp_path / "there", "zip")
    assert ran([f"{sys.executable} -c '{code}'"], tmp_path / "there").strip() == "60"
