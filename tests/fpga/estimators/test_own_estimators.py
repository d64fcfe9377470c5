"""What an estimator is given: of the table, or a function of the user's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfprune.errors import MissingExtraError, SpecError, WorkError
from rfprune.fpga.estimators import ESTIMATORS, check_estimator, estimate, needs_project
from rfprune.fpga.estimators.design import Design
from rfprune.results import TrialFolder
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study.outlook import outlook
from rfprune.trial import prepare
from rfprune.trial.run import run_trial
from tests.trial.conftest import small

DESIGN = Design.model_validate({"layers": [{"name": "a", "type": "dense", "n_in": 2, "n_out": 2}]})
#: Estimators that leave in the file of `seen` what they were given.
OWN = """
from dataclasses import replace
from pathlib import Path

from rfprune.fpga.estimators.analytic import estimate
from rfprune.fpga.hls import read_project

NUMBER = 3

def counts(design, project):
    live = sum(layer.live_multipliers for layer in read_project(project))
    with (Path(__file__).parent / "seen").open("a") as seen:
        seen.write(f"{live}\\n")
    return replace(estimate(design), source="counts", latency_cycles=live)

def may_count(design, project=None):
    return replace(estimate(design), source=str(project))

def reads_nothing(design, *, projects=(), **more):
    assert not more, more
    return replace(estimate(design), source="reads_nothing")

def breaks(design, project):
    raise OSError(f"{project.name}: licence server is down")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "own_rows.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("own_rows", None)


@pytest.mark.parametrize(
    ("name", "asks"),
    [
        *(("analytic", False), ("rule4ml", False)),
        *((name, True) for name in ("adders", "codegen", "csynth", "da4ml", "nextpnr", "yosys")),
        *(("own_rows:counts", True), ("own_rows:may_count", True)),
        ("own_rows:reads_nothing", False),
    ],
)
def test_who_has_a_parameter_project_gets_it(own: Path, name: str, asks: bool) -> None:
    assert needs_project(name) is asks


def test_every_row_of_the_table_was_asked() -> None:
    names = {"adders", "analytic", "codegen", "csynth", "da4ml", "nextpnr", "rule4ml", "yosys"}
    assert set(ESTIMATORS) == names


def test_listing_imports_no_estimator() -> None:
    code = (
        "import sys; from rfprune.fpga.estimators import ESTIMATORS\n"
        "assert all(row.summary for row in ESTIMATORS.values())\n"
        "print([m for m in sys.modules if m.startswith('rfprune.fpga.estimators.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_trial_hands_over_the_project_of_every_step(own: Path) -> None:
    folder = TrialFolder(own / "trials" / "0000")
    spec = small(estimator="own_rows:counts")
    run_trial(spec, folder, dense_dir=own / "dense", base_dir=own)
    steps = folder.steps()
    assert len(steps) > 1
    seen = [int(line) for line in (own / "seen").read_text().split()]
    assert seen == [sum(step.live.values()) for step in steps]
    assert [step.values["latency_cycles"] for step in steps] == seen
    assert len(set(seen)) == len(seen)


def test_a_trial_runs_an_estimator_that_reads_nothing(own: Path) -> None:
    folder = TrialFolder(own / "trials" / "0000")
    spec = small(estimator="own_rows:reads_nothing", prune={"steps": 1})
    run_trial(spec, folder, dense_dir=own / "dense", base_dir=own)
    dsp = [step.values["dsp"] for step in folder.steps()]
    assert dsp[0] == 64 * 16 // 4 + 16 * 10 // 8


def test_a_design_file_has_no_project(own: Path) -> None:
    for name in ("own_rows:counts", "codegen", "csynth", "da4ml", "nextpnr", "yosys"):
        with pytest.raises(SpecError, match=f"'{name}' reads the C.. and weights of an hls4ml"):
            estimate(DESIGN, name)
    assert estimate(DESIGN, "own_rows:may_count").source == "None"
    assert estimate(DESIGN, "own_rows:may_count", own).source == str(own)


def test_what_goes_wrong_in_an_own_estimator_is_named(own: Path) -> None:
    with pytest.raises(WorkError, match=rf"'own_rows:breaks' failed: OSError: {own.name}: licence"):
        estimate(DESIGN, "own_rows:breaks", own)
    with pytest.raises(SpecError, match="'own_rows:NUMBER' is of type int"):
        estimate(DESIGN, "own_rows:NUMBER")
    with pytest.raises(SpecError, match="'own_rows:NUMBER' is of type int"):
        check_estimator("own_rows:NUMBER")


def test_a_missing_program_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(MissingExtraError, match=r"rfprune\[yosys\]"):
        prepare(small(estimator="yosys"), tmp_path)
    check_estimator("da4ml")


def test_a_missing_package_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "da4ml.trace", None)
    for name in ("da4ml", "nextpnr", "yosys"):
        with pytest.raises(MissingExtraError, match=r"rfprune\[da4ml\]"):
            prepare(small(estimator=name), tmp_path)
    monkeypatch.setitem(sys.modules, "rule4ml.models.wrappers", None)
    with pytest.raises(MissingExtraError, match=r"rfprune\[rule4ml\]"):
        prepare(small(estimator="rule4ml"), tmp_path)


#: Networks in which da4ml builds nothing, and one in which it does.
BY_OTHERS = {
    "graphs of alkaid": {"prune": {"method": "magnitude"}, "hardware": {"backend": "alkaid"}},
    "values of alkaid": {"prune": {"method": "widths"}, "hardware": {"backend": "alkaid"}},
    "values in latency": {"prune": {"method": "widths"}, "hardware": {"strategy": "latency"}},
}
BY_DA4ML = {
    "prune": {"method": "widths"},
    "hardware": {"strategy": "distributed_arithmetic", "precision": "fixed<8,3,RND,SAT>"},
}


def of_constants(values: dict[str, dict[str, str]], **more: str) -> TrialSpec:
    """Return a trial at reuse factor 1 on a budget of LUT."""
    hardware = {"strategy": "distributed_arithmetic", **values["hardware"]}
    hardware |= {"reuse_factor": 1, "layers": {}, "precision": "fixed<8,3,RND,SAT>"}
    prune = {**values["prune"], "budget": {"lut": 0.5}, "regularizer": {"weight": 0}}
    return small(hardware=hardware, prune=prune, **more)


@pytest.mark.parametrize("case", BY_OTHERS)
def test_da4ml_is_not_asked_for_where_others_build_the_network(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("alkaid")
    monkeypatch.setitem(sys.modules, "da4ml", None)
    by_alkaid = "backend" in BY_OTHERS[case]["hardware"]
    estimators = ("adders", "yosys", "nextpnr") if by_alkaid else ("analytic",)
    for estimator in estimators:
        prepared = prepare(of_constants(BY_OTHERS[case], estimator=estimator), tmp_path)
        assert prepared.deployment.prunable.dense["lut"] > 0
    values = {"method": BY_OTHERS[case]["prune"]["method"]}
    search = {"prune.steps": {"low": 1, "high": 2}, "estimator": {"choices": list(estimators)}}
    search["prune.method"] = {"choices": ["widths"]}
    spec = of_constants({**BY_OTHERS[case], "prune": values}).model_dump(exclude_defaults=True)
    sweep = {"name": "demo", **spec, "search": search}
    sweep["objectives"] = {"val_accuracy": "max", "lut": "min"}
    assert outlook(parse_spec(SweepSpec, sweep, "demo.yml"), tmp_path)


def test_da4ml_is_asked_for_where_it_builds_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "da4ml", None)
    with pytest.raises(MissingExtraError, match=r"method: widths with.*rfprune\[da4ml\].*alkaid"):
        prepare(of_constants(BY_DA4ML, estimator="analytic"), tmp_path)
