"""RTL measured by open tools: what is found, how tools are run, what is kept, what they say."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from rfprune.cli.app import app
from rfprune.core.progress import saying
from rfprune.errors import MissingExtraError, ReportError, RunsError, WorkError
from rfprune.fpga.estimating import estimate_folder, estimate_network
from rfprune.fpga.estimators import nextpnr, yosys
from rfprune.fpga.estimators.open_tools import Program, find_program, run_program
from rfprune.fpga.estimators.ports import measure_graph
from rfprune.fpga.estimators.rtl import find_hls_output, needed_files
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.unrolled.circuit import build_unrolled
from rfprune.fpga.unrolled.deployment import UnrolledDeployment
from rfprune.hardware.parts import find_part
from rfprune.spec import HardwareSpec, TrialSpec
from tests.fpga.estimators.hls_output import write_hls_output

#: Stands in for Yosys: writes statistics, counts its runs, fails where the RTL says so.
FAKE = """#!/bin/sh
[ "$1" = --version ] && echo "Yosys 9.9 (fake)" && exit 0
echo run >> {runs}
echo "2.1. Executing ABC pass (technology mapping)."
sleep {seconds}
if grep -q no_good *.v; then
    echo "ERROR: Module \\`no_good' is not part of the design."; echo "and more words"; exit 1
fi
echo '{{"design": {{"num_cells_by_type": {{"LUT6": 136, "FDRE": 107, "DSP48E1": 2}}}}}}' > stat.json
"""


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tools' own cache, which takes them a minute to fill, stays where it is.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_tools_that_compile_themselves_have_a_place_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the tools of PyPI do at their first run, with a cache that cannot be written."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("YOWASP_CACHE_DIR", raising=False)
    program = tmp_path / "keeps"
    program.write_text(
        '#!/bin/sh\nplace="${YOWASP_CACHE_DIR:-$XDG_CACHE_HOME/YoWASP}"\n'
        'test -f "$place/made" && exit 0\nmkdir -p "$place" && touch "$place/made" && echo first\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    told = []
    for _ in range(2):
        run_program(Program("Keeps", ("keeps",), "yosys", "(x)"), [], tmp_path, tmp_path)
        told.append((tmp_path / "keeps.log").read_text())
    assert told == ["first\n", ""]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a program in Yosys' place; return the file that counts its runs."""

    def put(seconds: float = 0.0) -> Path:
        folder, runs = tmp_path / "bin", tmp_path / "runs"
        folder.mkdir(exist_ok=True)
        program = folder / "yosys"
        program.write_text(FAKE.format(runs=runs, seconds=seconds))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return runs

    return put


def has(*checks: Callable[[], None]) -> bool:
    try:
        for check in checks:
            check()
    except MissingExtraError:
        return False
    return True


def test_what_hls_wrote_is_found_from_every_folder_around_it(tmp_path: Path) -> None:
    syn = write_hls_output(tmp_path)
    for folder in (tmp_path, syn.parent, syn, syn / "verilog"):
        found = find_hls_output(folder)
        assert found is not None
        assert (found.top, found.part.name, found.clock_ns) == ("myproject", "xc7z020", 4.0)
        assert (found.latency_cycles, found.ii_cycles) == (9, 3)
        assert found.writer == "Vitis HLS 2022.2"
    assert find_hls_output(syn / "report") is None


def test_files_are_what_the_module_needs(tmp_path: Path) -> None:
    found = find_hls_output(write_hls_output(tmp_path))
    assert found is not None
    names = ["myproject.v", "myproject_mul_16s_16s_32_1_1.v", "myproject_w2.v"]
    assert needed_files(found.folder, "myproject") == names
    assert sorted(found.files) == sorted([*names, "myproject_w2_rom.dat"])
    # Where the tool runs all files are in one folder.
    assert b'$readmemh("myproject_w2_rom.dat", ram)' in found.files["myproject_w2.v"]


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("VHDL alone", lambda syn: (syn / "verilog").rename(syn / "vhdl")),
        ("no report of C synthesis", lambda syn: (syn / "report" / "csynth.xml").unlink()),
        ("truncated", lambda syn: (syn / "report" / "csynth.xml").write_text("<profile>")),
        ("which is not beside it", lambda syn: (syn / "verilog/myproject_w2_rom.dat").unlink()),
        ("holds no myproject.v", lambda syn: (syn / "verilog" / "myproject.v").unlink()),
        (
            "holds a file 'a;exec -- id;.v'",
            lambda syn: (syn / "verilog/myproject_w2.v").rename(syn / "verilog/a;exec -- id;.v"),
        ),
        ("several runs of HLS", lambda syn: write_hls_output(syn.parents[2] / "again")),
    ],
)
def test_bad_input_is_one_sentence(
    text: str, change: Callable[[Path], object], tmp_path: Path, fake: Callable[..., Path]
) -> None:
    fake()
    change(write_hls_output(tmp_path))
    with pytest.raises(ReportError, match=text) as caught:
        estimate_folder(tmp_path, "yosys", None)
    assert str(caught.value).count(". ") <= 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("by", ["yosys", "nextpnr"])
def test_a_folder_without_rtl_is_refused(by: str, tmp_path: Path) -> None:
    with pytest.raises(RunsError, match=f"holds no RTL. Allowed with --by {by}"):
        estimate_folder(tmp_path, by, None)


def test_without_nextpnr_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(MissingExtraError, match=r"rfprune\[nextpnr\]"):
        find_program(nextpnr.NEXTPNR)


def test_counts_are_those_of_vivado(tmp_path: Path, fake: Callable[..., Path]) -> None:
    fake()
    write_hls_output(tmp_path)
    found, part = estimate_folder(tmp_path, "yosys", None)
    assert part.name == "xc7z020"
    assert (found.total.lut, found.total.ff, found.total.dsp) == (100, 100, 2)
    assert found.intervals == {"lut": (53.0, 187.0), "ff": (87.0, 115.0)}
    assert found.tool == "Yosys 9.9 synth_xilinx -family xc7, Verilog of Vitis HLS 2022.2"
    assert (found.latency_cycles, found.clock_ns, found.source) == (9, 4.0, "yosys")


def test_rtl_that_was_measured_is_not_measured_again(
    tmp_path: Path, fake: Callable[..., Path]
) -> None:
    runs = fake()
    syn = write_hls_output(tmp_path / "project")
    first = estimate_folder(tmp_path / "project", "yosys", None)
    assert estimate_folder(syn, "yosys", None) == first
    assert runs.read_text() == "run\n"
    # What is not part of the design does not count, every bit of what is does.
    (syn / "verilog" / "left_from_before.v").write_text("module other; endmodule\n")
    estimate_folder(syn, "yosys", None)
    assert runs.read_text().count("run") == 1
    memory = syn / "verilog" / "myproject_w2_rom.dat"
    memory.write_text(memory.read_text().replace("0007", "0008"))
    estimate_folder(syn, "yosys", None)
    assert runs.read_text().count("run") == 2
    (kept, *_) = (tmp_path / "cache" / "rfprune" / "measured_rtl").iterdir()
    for path in kept.parent.iterdir():
        path.write_text("{")
    estimate_folder(syn, "yosys", None)
    assert runs.read_text().count("run") == 3


def test_a_failure_has_the_tools_own_words(tmp_path: Path, fake: Callable[..., Path]) -> None:
    fake()
    top = write_hls_output(tmp_path) / "verilog" / "myproject.v"
    top.write_text(top.read_text().replace("endmodule", "no_good a (x); endmodule"))
    said = CliRunner().invoke(app, ["estimate", str(tmp_path), "--by", "yosys"])
    assert isinstance(said.exception, WorkError)
    words = str(said.exception)
    assert words == (
        f"{top.parent}: Yosys failed: ERROR: Module `no_good' is not part of the design."
    )
    assert not (tmp_path / "cache" / "rfprune" / "measured_rtl").exists()
    # Nothing is written where the RTL is.
    assert sorted(path.suffix for path in top.parent.iterdir()) == [".dat", ".v", ".v", ".v", ".v"]


def test_what_a_tool_does_is_said(tmp_path: Path, fake: Callable[..., Path]) -> None:
    fake(seconds=0.7)
    said: list[str] = []
    write_hls_output(tmp_path)
    with saying(said.append):
        estimate_folder(tmp_path, "yosys", None)
    assert said[-1] == "Yosys has run 0:00: ABC pass (technology mapping)"


def test_a_tool_that_does_not_end_is_ended(tmp_path: Path, fake: Callable[..., Path]) -> None:
    fake(seconds=60)
    with pytest.raises(WorkError, match=r"Yosys did not end within 0.2 s\.$"):
        run_program(yosys.YOSYS, ["-p", "x"], tmp_path, tmp_path, timeout_seconds=0.2)


def test_the_report_of_nextpnr(tmp_path: Path) -> None:
    path, names = tmp_path / "report.json", ("MULT18X18D", "DP16KD", "TRELLIS_COMB", "TRELLIS_FF")
    used = {name: {"used": i, "available": 9} for i, name in enumerate(names)}
    clocks = {"clk": {"achieved": 80.0, "constraint": 200}, "slow": {"achieved": 50.0}}
    path.write_text(json.dumps({"utilization": used, "fmax": clocks}))
    found = nextpnr.read_report(path)
    assert found == {
        "resources": {"dsp": 0, "bram18": 1, "lut": 2, "ff": 3},
        "reachable_ns": 20.0,
    }
    path.write_text(json.dumps({"utilization": used, "fmax": {}}))
    assert nextpnr.read_report(path)["reachable_ns"] is None
    path.write_text("{}")
    with pytest.raises(ReportError, match="no report of nextpnr"):
        nextpnr.read_report(path)


# --- with the tools themselves --------------------------------------------------------------------


@pytest.mark.slow
def test_products_and_memories_of_hls(tmp_path: Path) -> None:
    if not has(yosys.check_installed):
        pytest.skip("Yosys is not installed")
    write_hls_output(tmp_path)
    found, _ = estimate_folder(tmp_path, "yosys", None)
    assert (found.total.dsp, found.total.bram18) == (1, 1)


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    torch.manual_seed(0)
    return {
        "dense": (nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), (8,)),
        "conv1d": (nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten()), (2, 6)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "conv1d"])
def test_the_interval_of_a_graph_holds_what_yosys_measures(kind: str) -> None:
    if not has(yosys.check_installed):
        pytest.skip("Yosys is not installed")
    pytest.importorskip("alkaid")
    model, shape = networks()[kind]
    content = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "estimator": "adders"}
    hardware = {"backend": "alkaid", "strategy": "distributed_arithmetic"}
    hardware |= {"precision": "fixed<8,3,RND,SAT>", "part": "xcvu9p"}
    spec = TrialSpec.model_validate(
        {**content, "prune": {"budget": {"lut": 0.5}}, "hardware": hardware}
    )
    planned = plan(trace(model.eval(), shape), spec.hardware)
    deployment = UnrolledDeployment(spec, planned, None)
    low, high = deployment.estimate(model, "adders").intervals["lut"]
    measured = deployment.estimate(model, "yosys")
    assert measured.total.lut is not None
    assert low <= measured.total.lut <= high


@pytest.mark.slow
def test_the_interval_of_distributed_arithmetic_holds_what_yosys_measures() -> None:
    if not has(yosys.check_installed):
        pytest.skip("Yosys is not installed")
    pytest.importorskip("da4ml")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4)).eval()
    hardware = HardwareSpec.model_validate({"precision": "fixed<8,3,RND,SAT>", "part": "xcvu9p"})
    planned = plan(trace(model, (12,)), hardware)
    low, high = estimate_network(planned, model, "da4ml").intervals["lut"]
    measured = estimate_network(planned, model, "yosys")
    assert measured.total.lut is not None
    assert 300 < low <= measured.total.lut <= high < 2 * low
    # What is measured is no estimate of the same: another tool counted.
    assert measured.tool is not None
    assert measured.tool.startswith("Yosys")


@pytest.mark.slow
def test_a_network_is_placed_and_routed() -> None:
    if not has(nextpnr.check_installed):
        pytest.skip("nextpnr is not installed")
    pytest.importorskip("alkaid")
    model, shape = networks()["dense"]
    values = {"backend": "alkaid", "strategy": "distributed_arithmetic"}
    hardware = HardwareSpec.model_validate(values | {"precision": "fixed<6,2>"})
    graph = build_unrolled(model, plan(trace(model.eval(), shape), hardware))
    part, said = find_part("xcvu9p"), list[str]()
    with saying(said.append):
        found = measure_graph(graph, "nextpnr", part, 5.0, ())
    assert found.total.ff == pytest.approx(graph.ff, rel=0.2)
    assert found.total.lut is not None
    assert found.total.lut > graph.lut  # four inputs each
    assert (found.total.dsp, found.latency_cycles) == (0, graph.stages)
    assert found.reachable_ns is not None
    assert found.to_json(part)["part"] == "LFE5U-85F"
    assert found.fits(part) == (found.reachable_ns <= 5.0)
    assert any("nextpnr has run" in text for text in said)
