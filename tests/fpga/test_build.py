"""The exported project, built: its C++ simulated here, its scripts run with a stand-in tool.

The stand-in answers the commands of the vendor's Tcl shell that hls4ml's ``build_prj.tcl`` gives;
its C simulation is the real one, hls4ml's test bench compiled with g++.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rfprune.errors import SimulationError
from rfprune.exporting import Exported, Request, export
from rfprune.fpga.hls import Conversion, LayerParity, Parity
from rfprune.results import TrialFolder

pytestmark = pytest.mark.slow

TOOL = """#!/bin/sh
# vitis-run --mode hls --tcl FILE
echo "tool $4 $(cat build_opt.tcl)" >> "$LOG"
exec tclsh {stand_in} "$4"
"""
STAND_IN = r"""
foreach name {set_top add_files config_array_partition config_compile set_part config_schedule
              create_clock set_clock_uncertainty} { proc $name args {} }
proc open_project args { file mkdir [lindex $args end] }
proc open_solution args {}
proc csim_design {} {
    exec g++ -w -O0 -std=c++17 -Ifirmware/ap_types {-DWEIGHTS_DIR="firmware/weights"} \
        rfprune_design_test.cpp firmware/rfprune_design.cpp -o bench
    exec ./bench
}
proc csynth_design {} { file mkdir rfprune_design_prj/solution1/syn/verilog }
proc export_design args { puts "exported $args" }
set file [lindex $argv 0]
set argv {}
source $file
"""


def parity_in(folder: Path) -> Parity:
    """Return what ``parity.json`` of an export says."""
    facts = json.loads((folder / "parity.json").read_text())
    layers = tuple(LayerParity(**layer) for layer in facts.pop("layers"))
    return Parity(**facts, layers=layers)


@pytest.fixture(scope="module")
def simulated(
    trial: TrialFolder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Exported]:
    out = tmp_path_factory.mktemp("simulated") / "best"
    return out, export(Request(trial=trial, step=3, out=out))


@pytest.fixture
def build(simulated: tuple[Path, Exported], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a copy's build.sh; ``tools`` says what is on its path."""
    folder = tmp_path / "copy"
    shutil.copytree(simulated[0], folder)
    (tmp_path / "stand_in.tcl").write_text(STAND_IN)
    shell = tmp_path / "shell"
    shell.mkdir()
    for name in ("env", "bash", "sh", "dirname", "cat", "g++", "tclsh", "as", "ld"):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not on PATH")
        (shell / name).symlink_to(found)

    def run(*steps: str, tools: tuple[str, ...] = ("vitis-run", "vivado")) -> tuple[int, str]:
        places = tmp_path / "-".join(("tools", *tools))
        places.mkdir(exist_ok=True)
        for name in tools:
            (places / name).write_text(TOOL.format(stand_in=tmp_path / "stand_in.tcl"))
            (places / name).chmod(0o755)
        ran = subprocess.run(
            [folder / "build.sh", *steps],
            env={"PATH": f"{places}:{shell}", "LOG": str(tmp_path / "log")},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        return ran.returncode, ran.stdout + ran.stderr

    return run


def test_the_simulation_agrees_in_every_layer(
    trial: TrialFolder, simulated: tuple[Path, Exported]
) -> None:
    out, exported = simulated
    parity = parity_in(out)
    assert exported.facts[0].startswith("C++ simulation: it names the same class as torch")
    assert parity.holds
    assert (parity.rows, parity.agreement, parity.largest_error) == (359, 1.0, 0.0)
    assert [layer.name for layer in parity.layers] == ["fc1", "fc1_relu", "output"]
    assert parity.cpp_score == pytest.approx(trial.step(3).values["accuracy"], abs=0.02)
    with np.load(out / "test_vectors.npz") as vectors:
        assert vectors["logits"].shape == vectors["logits_fixed"].shape == (359, 10)
        assert np.array_equal(vectors["logits_fixed"].argmax(1), vectors["logits"].argmax(1))
        first = vectors["x_scaled"][:100]
    bench = out / "hls" / "tb_data"
    assert np.array_equal(np.loadtxt(bench / "tb_input_features.dat"), first)
    assert np.loadtxt(bench / "tb_output_fixed_point.dat").shape == (100, 10)


def plant_in_weights(project: Path) -> None:
    path = project / "firmware" / "weights" / "w4.txt"
    path.write_text(re.sub(r"-?0\.\d*[1-9]\d*", "1.5", path.read_text(), count=40))


def plant_in_code(project: Path) -> None:
    path = project / "firmware" / "parameters.h"
    text = path.read_text()
    assert "relu_config3" in text
    path = project / "firmware" / "rfprune_design.cpp"
    source = path.read_text()
    line = next(line for line in source.splitlines() if "nnet::relu" in line)
    path.write_text(source.replace(line, f"{line}\n    layer3_out[0] = 3;"))


@pytest.mark.parametrize(
    ("plant", "layer"), [(plant_in_weights, "output"), (plant_in_code, "fc1_relu")]
)
def test_a_fault_in_the_project_is_found_where_it_is(
    trial: TrialFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[Path], None],
    layer: str,
) -> None:
    write = Conversion.write

    def write_with_fault(self: Conversion) -> Path:
        project = write(self)
        plant(project)
        return project

    monkeypatch.setattr(Conversion, "write", write_with_fault)
    request = Request(trial=trial, step=3, out=tmp_path / "out", rows=60)
    with pytest.raises(SimulationError, match=f"begins in layer '{layer}', off by up to"):
        export(request)
    assert list(tmp_path.iterdir()) == []
    export(replace(request, force=True))
    assert not parity_in(tmp_path / "out").holds
    assert f"off from layer `{layer}` on" in (tmp_path / "out" / "report.md").read_text()


def test_the_steps_run_in_order_and_csim_meets_the_test_vectors(build, tmp_path: Path) -> None:
    status, said = build("csim", "csynth", "export")
    assert status == 0, said
    assert "csim: all 100 rows as exported." in said
    assert "exported -format ip_catalog" in said
    runs = [line for line in (tmp_path / "log").read_text().splitlines() if "build_prj" in line]
    on = [re.findall(r"(\w+) 1", line) for line in runs]
    assert on == [["reset", "csim"], ["synth"], ["export"]]


def test_csim_that_differs_stops_the_build(build, tmp_path: Path) -> None:
    plant_in_code(tmp_path / "copy" / "hls")
    status, said = build("csim", "csynth")
    assert status != 0
    assert re.search(r"row \d+: csim gives \S+, expected", said)
    assert "== csynth" not in said


@pytest.mark.parametrize(
    ("steps", "tools", "message"),
    [
        ((), (), "vitis-run is not on PATH. Source settings64.sh of Vitis HLS first."),
        (("csin",), ("vitis-run",), "unknown step 'csin'. Allowed: csim csynth cosim export"),
        (("export",), ("vitis-run",), "export needs the RTL. Run first: ./build.sh csynth"),
        (("csynth", "synthesis"), ("vitis-run",), "vivado is not on PATH."),
    ],
)
def test_what_is_missing_is_said(
    build, steps: tuple[str, ...], tools: tuple[str, ...], message: str
) -> None:
    status, said = build(*steps, tools=tools)
    assert status == 1
    assert message in said


@pytest.mark.parametrize(("backend", "program"), [("Vitis", "vitis-run"), ("Vivado", "vivado_hls")])
def test_scripts_name_their_tool(tmp_path: Path, backend: str, program: str) -> None:
    from rfprune.fpga.build import write_scripts

    (tmp_path / "hls").mkdir()
    write_scripts(tmp_path, backend)
    for name in ("build.sh", "build.bat"):
        text = (tmp_path / name).read_text()
        assert program in text
        assert "__" not in text
    assert b"\r\n" in (tmp_path / "build.bat").read_bytes()
    assert os.access(tmp_path / "build.sh", os.X_OK)
    assert subprocess.run(["bash", "-n", tmp_path / "build.sh"], check=False).returncode == 0
