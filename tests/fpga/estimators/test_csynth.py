from __future__ import annotations

import stat
import sys
import time
from pathlib import Path

import pytest

from rfprune.errors import MissingExtraError, ReportError, SpecError, WorkError
from rfprune.fpga.estimators.csynth import (
    LICENSE_RESOURCE,
    CsynthOptions,
    estimate,
    run,
    run_licensed,
)
from rfprune.fpga.estimators.design import Design

GOLDEN = Path(__file__).parents[2] / "golden"

STAND_IN = """#!{python}
import pathlib, shutil, sys, time
here = pathlib.Path.cwd()
with open(here / "calls.txt", "a") as calls:
    print(*sys.argv[1:], sep="|", file=calls)
mode = (here / "mode.txt").read_text().split()
if mode[0] == "fail" and len((here / "calls.txt").read_text().splitlines()) <= int(mode[1]):
    print("ERROR: [HLS 200-101] License checkout failed")
    sys.exit(1)
if mode[0] == "hang":
    time.sleep(60)
if mode[0] != "silent":
    folder = here / "myproject_prj" / "solution1" / "syn" / "report"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile({golden!r} + "/csynth_vitis.xml", folder / "myproject_csynth.xml")
    if "vsynth 1" in (here / "build_opt.tcl").read_text() or "vsynth=1" in sys.argv[-1]:
        shutil.copyfile({golden!r} + "/vivado_synth.rpt", here / "vivado_synth.rpt")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "prj"
    folder.mkdir()
    (folder / "project.tcl").write_text(
        'variable project_name\nset project_name "myproject"\n'
        'variable backend\nset backend "vitis"\n'
    )
    (folder / "build_prj.tcl").write_text("# built by hls4ml\n")
    (folder / "build_opt.tcl").write_text("array set opt {\n    csim 1\n    synth 1\n}\n")
    (folder / "mode.txt").write_text("work")
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))

    def add(name: str) -> None:
        program = tools / name
        program.write_text(STAND_IN.format(python=sys.executable, golden=str(GOLDEN)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return add


QUICK = CsynthOptions(timeout_seconds=30, wait_seconds=0)


def test_vitis_run_gets_hls4mls_command_line(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    install("vitis-run")
    install("vitis_hls")
    found = run(project, QUICK)
    assert (project / "calls.txt").read_text() == "--tcl|build_prj.tcl|--mode|hls\n"
    settings = (project / "build_opt.tcl").read_text()
    assert "synth 1" in settings
    assert "csim 0" in settings
    assert "cosim 0" in settings
    assert found.source == "csynth"
    assert found.total == (136, 12, 9876, 4321)
    assert (found.latency_cycles, found.ii_cycles) == (22, 9)
    assert (project / "csynth_1.log").is_file()


def test_older_vitis_and_logic_synthesis(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    install("vitis_hls")
    found = run(project, CsynthOptions(vsynth=True, timeout_seconds=30))
    assert (project / "calls.txt").read_text() == "-f|build_prj.tcl\n"
    assert found.predicts == "synthesis"
    assert found.total.lut == 5120


def test_vivado_takes_its_options_as_one_argument(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    install("vivado_hls")
    (project / "build_opt.tcl").unlink()
    script = project / "project.tcl"
    script.write_text(script.read_text().replace("vitis", "vivado"))
    (project / "mode.txt").write_text("silent")
    with pytest.raises(ReportError, match=r"no report|no new"):
        run(project, QUICK)
    (call,) = (project / "calls.txt").read_text().splitlines()
    assert call.startswith("-f|build_prj.tcl|reset=0 csim=0 synth=1 cosim=0")


def test_a_failed_attempt_is_tried_again_and_both_logs_are_kept(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    install("vitis-run")
    (project / "mode.txt").write_text("fail 1")
    assert run(project, QUICK).total.dsp == 136
    assert "License checkout failed" in (project / "csynth_1.log").read_text()
    assert (project / "csynth_2.log").is_file()


def test_a_run_that_never_works_says_the_tools_last_words(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    install("vitis-run")
    (project / "mode.txt").write_text("fail 9")
    with pytest.raises(WorkError, match=r"status 1 in 2 attempts.*License checkout failed"):
        run(project, QUICK)


def test_a_hanging_tool_is_ended(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    install("vitis-run")
    (project / "mode.txt").write_text("hang")
    begin = time.monotonic()
    with pytest.raises(WorkError, match="did not end within"):
        run(project, CsynthOptions(timeout_seconds=0.5, attempts=1))
    assert time.monotonic() - begin < 30


def test_an_old_report_is_not_taken_for_a_new_one(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    install("vitis-run")
    run(project, QUICK)
    report = next(project.glob("**/myproject_csynth.xml"))
    import os

    os.utime(report, (0, 0))
    (project / "mode.txt").write_text("silent")
    with pytest.raises(ReportError, match="no new C-synthesis report"):
        run(project, QUICK)


def test_without_the_tool_the_message_names_it(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MissingExtraError, match=r"vitis-run or vitis_hls on PATH"):
        run(project, QUICK)


def test_a_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="not an hls4ml project"):
        run(tmp_path, QUICK)


@pytest.mark.slow
def test_on_a_cluster_no_more_runs_start_than_there_are_licences(project: Path, install) -> None:  # type: ignore[no-untyped-def]
    import ray

    from rfprune.execution.cluster import quiet_environment

    install("vitis-run")
    design = Design.model_validate({"layers": [{"name": "a", "type": "relu", "n_out": 2}]})
    with quiet_environment():
        # No CPU is free, as where every one of them is a trial's.
        ray.init("local", num_cpus=0, resources={LICENSE_RESOURCE: 1}, include_dashboard=False)
        try:
            assert estimate(design, project).total.dsp == 136
            (project / "mode.txt").write_text("fail 9")
            with pytest.raises(WorkError, match="License checkout failed"):
                run_licensed(project, QUICK)
        finally:
            ray.shutdown()
