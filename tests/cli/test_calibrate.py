"""``rfprune calibrate`` and the lists of ``rfprune estimate``: read, kept, said, refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

import rfprune
from rfprune.errors import SpecError
from rfprune.fpga.estimators.calibration import calibration_file, corrections

SAMPLES = Path(os.environ.get("RFPRUNE_DATA", "/nowhere")) / "report_samples"
LAYER = {"type": "dense", "n_in": 64, "n_out": 32, "strategy": "resource", "reuse_factor": 16}
#: The parts of a C-synthesis report of Vitis HLS that are read.
REPORT = """<profile>
<ReportVersion><Version>2023.2</Version></ReportVersion>
<UserAssignments><Part>{part}</Part><TargetClockPeriod>{clock}</TargetClockPeriod>
<TopModelName>myproject</TopModelName></UserAssignments>
<PerformanceEstimates><SummaryOfTimingAnalysis><EstimatedClockPeriod>3.6</EstimatedClockPeriod>
</SummaryOfTimingAnalysis><SummaryOfOverallLatency><Best-caseLatency>17</Best-caseLatency>
<Worst-caseLatency>18</Worst-caseLatency><Interval-min>16</Interval-min>
<Interval-max>16</Interval-max></SummaryOfOverallLatency></PerformanceEstimates>
<AreaEstimates><Resources><BRAM_18K>57</BRAM_18K><DSP>128</DSP><FF>9000</FF><LUT>{lut}</LUT>
</Resources></AreaEstimates>
</profile>
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def project(folder: Path, lut: int, part: str = "xcu250-figd2104-2L-e", clock: float = 5.0) -> Path:
    """Write a design file and the report of a tool below it; return the report's path."""
    report = folder / "prj" / "solution1" / "syn" / "report" / "myproject_csynth.xml"
    report.parent.mkdir(parents=True)
    report.write_text(REPORT.format(part=part, clock=clock, lut=lut))
    design = {"part": "xcu250", "clock_ns": 5, "layers": [{"name": "fc", **LAYER}]}
    (folder / "design.yml").write_text(yaml.safe_dump(design))
    return report


def test_own_reports_correct_later_estimates_and_are_named(run, workplace: Path) -> None:
    lut = run("estimate", _plain(workplace), "--json").json["total"]["lut"]
    for i in range(3):
        project(workplace / "projects" / str(i), 2 * lut)
    ran = run("calibrate", "projects", "--json")
    assert ran.code == 0
    factor = ran.json["corrections"]["io_parallel, dense, weights in memories"]["hls_lut"]
    assert factor["designs"] == 3
    assert 1.3 < factor["factor"] < 2  # drawn towards 1, as there are only three
    after = run("estimate", "plain.yml", "--json").json
    assert after["total"]["lut"] == pytest.approx(factor["factor"] * lut, rel=0.01)
    assert after["intervals"]["lut"][0] <= after["total"]["lut"] <= after["intervals"]["lut"][1]
    assert any("own reports" in note for note in after["notes"])
    # The same reports again change nothing.
    again = run("calibrate", "projects", "--json").json["corrections"]
    assert again == ran.json["corrections"]
    assert run("calibrate", "--forget").code == 0
    assert not calibration_file().exists()
    assert run("estimate", "plain.yml", "--json").json["total"]["lut"] == lut


def _plain(folder: Path) -> Path:
    path = folder / "plain.yml"
    design = {"part": "xcu250", "clock_ns": 5, "layers": [{"name": "fc", **LAYER}]}
    path.write_text(yaml.safe_dump(design))
    return path


def test_corrections_are_drawn_towards_one() -> None:
    rows = [{"family": "f", "ratios": {"hls_lut": [1000.0, 2050.0]}} for _ in range(100)]
    few, many = corrections(rows[:1], "f")["hls_lut"], corrections(rows, "f")["hls_lut"]
    assert 1 < few[0] < many[0] < 2.05
    assert corrections(rows, "other") == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"part": "xc7z020-clg400-1"}, "is of part xc7z020-clg400-1"),
        ({"clock": 10.0}, "is for a clock of 10 ns"),
    ],
)
def test_reports_of_another_design_are_refused(run, workplace: Path, change, said: str) -> None:
    project(workplace / "one", 5000, **change)
    ran = run("calibrate", "one")
    assert (ran.code, ran.out) == (2, "")
    assert said in " ".join(ran.err.split())
    assert not calibration_file().exists()


#: A change of a second report, and what is said of both.
CONTRADICTIONS = {
    "resources": ("<LUT>5000", "<LUT>7000", ("says lut 5000", "says 7000")),
    "latency": ("<Worst-caseLatency>18", "<Worst-caseLatency>40", ("says latency_max 18", "40")),
    "interval": ("<Interval-min>16", "<Interval-min>1", ("says ii_min 16", "says 1")),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_reports_that_contradict_each_other_are_refused(run, workplace: Path, case: str) -> None:
    old, new, words = CONTRADICTIONS[case]
    report = project(workplace / "one", 5000)
    second = workplace / "one" / "prj" / "solution2" / "syn" / "report" / report.name
    second.parent.mkdir(parents=True)
    assert old in report.read_text()
    second.write_text(report.read_text().replace(old, new))
    ran = run("calibrate", "one")
    said = " ".join(ran.err.split())
    assert (ran.code, ran.out) == (2, "")
    assert [word for word in words if word not in said] == []
    assert not calibration_file().exists()
    # Two that agree are one.
    second.write_text(report.read_text())
    assert run("calibrate", "one").code == 0


FOREIGN = {
    "half": lambda text: text[: len(text) // 2],
    "all but its end": lambda text: text[:-12],
    "nothing": lambda text: "",
    "of Quartus": lambda text: "Quartus Prime report\n; Logic utilization ; 12 ;\n",
    "of Yosys": lambda text: '{"creator": "Yosys 0.40", "modules": {}}',
    "a page": lambda text: "<html><body>404</body></html>",
    "no number": lambda text: text.replace("<LUT>5000", "<LUT>-5"),
    "other text": lambda text: text.encode("utf-16"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_damaged_and_foreign_reports_leave_nothing_behind(run, workplace: Path, case: str) -> None:
    project(workplace / "all" / "a", 5000)
    report = project(workplace / "all" / "b", 5000)
    made = FOREIGN[case](report.read_text())
    report.write_bytes(made if isinstance(made, bytes) else made.encode())
    ran = run("calibrate", "all")
    # One design is right, and is not kept without the other.
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err
    assert "all/b/prj/solution1/syn/report/myproject_csynth.xml" in "".join(ran.err.split())
    assert not calibration_file().exists()


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no published report samples at {SAMPLES}")
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9, 1.0])
def test_texts_that_end_early_are_refused(run, workplace: Path, share: float) -> None:
    text = (SAMPLES / "vitis2024.1_io_parallel_myproject_csynth.rpt").read_text()
    project(workplace / "one", 5000).unlink()
    (workplace / "one" / "myproject_csynth.rpt").write_text(text[: int(share * len(text))])
    path = workplace / "one" / "design.yml"
    path.write_text(path.read_text().replace("xcu250", "xcu50"))
    ran = run("calibrate", "one")
    # The last section holds no figures, so that some of it may be missing.
    whole = share > 0.8
    assert ran.code == (0 if whole else 2)
    assert calibration_file().exists() == whole
    if not whole:
        assert "damaged or truncated" in " ".join(ran.err.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no reports are given"),
        (["nowhere"], "no such folder"),
        (["."], "holds no design"),
        (["tiny.npz"], "is a file"),
    ],
)
def test_what_is_no_project_is_said(run, workplace: Path, arguments, said: str) -> None:
    ran = run("calibrate", *arguments)
    assert ran.code == 2
    assert said in " ".join(ran.err.split())


def test_a_damaged_calibration_is_said_and_can_be_removed(run, workplace: Path) -> None:
    path = calibration_file()
    path.parent.mkdir(parents=True)
    path.write_text('{"designs": 3}')
    ran = run("estimate", _plain(workplace))
    assert ran.code == 2
    assert "--forget" in " ".join(ran.err.split())
    assert run("calibrate", "--forget").code == 0
    assert run("estimate", "plain.yml").code == 0


def test_what_was_kept_is_forgotten_in_python(workplace: Path) -> None:
    project(workplace / "projects", lut=20_000)
    assert len(rfprune.calibrate("projects").read) == 1
    with pytest.raises(SpecError, match="no such folder"):
        rfprune.calibrate("nothing", forget=True)
    assert calibration_file().exists()
    found = rfprune.calibrate(forget=True)
    assert (found.read, found.corrections) == ([], {})
    assert not found.file.exists()


def test_lists_make_one_row_for_each_combination(run, workplace: Path) -> None:
    path = _plain(workplace)
    lists = ["--reuse-factor", "4,16", "--clock", "2.5,5", "--part", "xcu250,pynq-z2"]
    found = run("estimate", path, *lists, "--json", "--png", "plot.png").json
    assert len(found) == 8
    assert {(p["reuse_factor"], p["clock_ns"], p["part"]) for p in found} == {
        (rf, clock, part)
        for rf in (4, 16)
        for clock in (2.5, 5.0)
        for part in ("xcu250", "xc7z020")
    }
    assert (workplace / "plot.png").read_bytes().startswith(b"\x89PNG")
    table = run("estimate", path, *lists)
    assert table.code == 0
    assert "xc7z020" in table.out
    own = run("estimate", path, "--json").json
    (same,) = run("estimate", path, "--clock", "5", "--json").json
    assert same["total"] == own["total"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reuse-factor", "4,x"], "--reuse-factor: 'x'"),
        (["--reuse-factor", "0"], "--reuse-factor: '0'"),
        (["--clock", "-5"], "--clock: '-5'"),
        (["--part", "xcu25"], "xcu25"),
        (["--by", "codegen", "--clock", "5"], "analytic"),
    ],
)
def test_wrong_lists_are_refused(run, workplace: Path, arguments, said: str) -> None:
    ran = run("estimate", _plain(workplace), *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in " ".join(ran.err.split())
    assert "Traceback" not in ran.err


def test_json_holds_intervals_and_the_reachable_clock(run, workplace: Path) -> None:
    found = run("estimate", _plain(workplace), "--json").json
    assert set(found["intervals"]) >= {"dsp", "bram18", "lut", "ff", "latency_cycles", "ii_cycles"}
    assert found["reachable_ns"] > 0
    text = run("estimate", "plain.yml").out
    assert "90 % between" in text
    json.dumps(found)
