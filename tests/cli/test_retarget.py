"""``rfprune retarget``: a sweep on another part, shown, exported and continued like any other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from rfprune.core.own_code import allowing_code
from rfprune.results import SweepFolder, read_sweep
from rfprune.study import count_trials, read_study
from rfprune.study.study import lock
from rfprune.tracking import load_config
from rfprune.tracking.client import connect
from tests.cli.conftest import run_without_ray

PART = "hardware.part=xcvu13p-flga2577-2-e"


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")
def test_a_sweep_moves_to_another_part(run, finished: Path, workplace: Path, monkeypatch) -> None:
    monkeypatch.delenv("RFPRUNE_TRACKING")
    ran = run("retarget", "tiny", "--set", PART, "--set", "hardware.clock_ns=5")
    assert ran.code == 0, ran
    new = SweepFolder(workplace / "runs" / "tiny-xcvu13p-flga2577-2-e")
    assert "networks of 3 trials measured again without training" in ran.out
    before, after = read_sweep(SweepFolder(finished)), read_sweep(new)
    assert after.part.startswith("xcvu13p")
    scores = {(c.trial, c.step): c.metrics["val_accuracy"] for c in before.candidates}
    assert {(c.trial, c.step): c.metrics["val_accuracy"] for c in after.candidates} == scores
    assert count_trials(read_study(new)).complete == 3
    assert new.facts()["retargeted_from"]["sweep"] == "tiny"
    assert json.loads((new.path / "left_out.json").read_text()) == []
    _check_rows(new)
    found = run("pareto", "tiny-xcvu13p-flga2577-2-e", "--json").json
    assert found["trials"]["complete"] == 3
    ran = run("export", new.path.name, "--allow-larger", "--rows", "0", "--out", "best")
    assert ran.code == 0, ran
    spec = yaml.safe_load((workplace / "best" / "spec.json").read_text())
    assert spec["hardware"]["clock_ns"] == 5


def _check_rows(sweep: SweepFolder) -> None:
    """Assert that MLflow has a run of each trial, with the costs that it has there."""
    client = connect(load_config())
    (experiment,) = [e for e in client.search_experiments() if e.name == "rfprune"]
    whole = f"tags.sweep_id = '{sweep.facts()['sweep_id']}'"
    runs = client.search_runs([experiment.experiment_id], whole)
    (parent,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    rows = {int(r.data.params["trial"]): r for r in runs if r.data.tags["kind"] == "trial"}
    assert parent.data.tags["retargeted_from"] == "tiny"
    assert parent.info.status == "FINISHED"
    assert sorted(rows) == [0, 1, 2]
    for trial in read_sweep(sweep).trials:
        assert rows[trial.number].data.tags["state"] == "complete"
        costs = {c.step: c.metrics["latency_cycles"] for c in trial.candidates}
        assert rows[trial.number].data.metrics["latency_cycles"] in costs.values()
        assert all(str(v) == rows[trial.number].data.params[p] for p, v in trial.params.items())


def test_it_goes_on_where_the_old_one_ended(run, finished: Path, workplace: Path) -> None:
    assert run("retarget", "tiny", "--set", PART, "--name", "moved", "--no-track").code == 0
    new = SweepFolder(workplace / "runs" / "moved")
    dense = sorted(path.name for path in new.dense_dir.iterdir())
    values = {**new.spec().canonical(), "trials": 4}
    (workplace / "moved.yml").write_text(yaml.safe_dump(values))
    run_without_ray(workplace / "moved.yml")
    assert count_trials(read_study(new)).complete == 4
    # Its dense networks came along: only those of other reuse factors would be new, and share them.
    assert sorted(path.name for path in new.dense_dir.iterdir()) == dense


def test_other_objectives(run, finished: Path, workplace: Path) -> None:
    ran = run(
        *("retarget", "tiny", "--no-track", "--name", "luts"),
        *("--set", "objectives={val_accuracy: max, lut: min}"),
    )
    assert ran.code == 0, ran
    found = run("pareto", "luts", "--json").json
    assert found["objectives"] == {"val_accuracy": "max", "lut": "min"}
    assert set(found["reference_point"]) == {"val_accuracy", "lut"}


def test_what_was_searched_and_is_not_any_more(run, finished: Path, workplace: Path) -> None:
    more = "search.hardware.clock_ns={choices: [5, 10]}"
    assert run("retarget", "tiny", "--set", more, "--name", "more", "--no-track").code == 0
    ran = run("retarget", "more", "--set", "hardware.clock_ns=5", "--name", "one", "--no-track")
    assert ran.code == 0, ran
    spec = SweepFolder(workplace / "runs" / "one").spec()
    assert "hardware.clock_ns" not in spec.search
    assert spec.hardware.clock_ns == 5
    ran = run("retarget", "tiny", "--set", "hardware.layers.fc1.reuse_factor=2")
    assert ran.code == 2
    assert "is searched by 'hardware.layers.*.reuse_factor'" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to change"),
        (["--set", "train.epochs=9"], "'train.epochs' decides the networks"),
        (["--set", "hardware.part=pynq-z9"], "pynq-z2"),
        (["--set", "hardware.prat=pynq-z2"], "no 'prat'"),
        (["--set", PART, "--name", "tiny"], "exists already"),
        (["--set", PART, "--name", "a/b"], "name"),
        (
            ["--set", "edge={device: rpi5}"],
            "is for an edge device",
        ),
        (["--set", "objectives={val_acuracy: max}"], "val_accuracy"),
        (["--set", "hardware.precision=fixed<3,3>", "--name", "x"], "nothing can be carried over"),
        (["--set", "estimator=analitic", "--name", "x"], "analytic"),
    ],
)
def test_wrong_input_leaves_nothing(
    run, finished: Path, workplace: Path, arguments: list[str], words: str
) -> None:
    before = sorted(str(path) for path in workplace.rglob("*"))
    ran = run("retarget", "tiny", *arguments)
    assert ran.code == 2, ran
    assert words in ran.err
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    assert sorted(str(path) for path in workplace.rglob("*")) == before


def test_a_sweep_that_has_not_run(run, make) -> None:
    ran = run("retarget", "tiny", "--set", PART)
    assert ran.code == 2
    assert "tiny" in ran.err


def test_what_a_killed_process_left_behind_is_cleared_away(
    run, finished: Path, workplace: Path
) -> None:
    partial = workplace / "runs" / ".moved.partial"
    (partial / "trials" / "0009").mkdir(parents=True)
    assert run("retarget", "tiny", "--set", PART, "--name", "moved", "--no-track").code == 0
    assert not partial.exists()
    assert not (workplace / "runs" / "moved" / "trials" / "0009").exists()
    with lock(SweepFolder(workplace / "runs" / "moved")), allowing_code(False):
        pass


@pytest.mark.slow
def test_a_retarget_that_is_killed_leaves_nothing_half_done(
    finished: Path, workplace: Path
) -> None:
    moved = workplace / "runs" / "moved"
    command = [sys.executable, "-m", "rfprune", "retarget", "tiny", "--set", PART]
    command += ["--name", "moved", "--no-track"]
    for number in range(4):
        running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        # Struck when the new folder begins to fill, a little later each time.
        while running.poll() is None and not list((workplace / "runs").glob(".moved.partial/*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1 * number)
        running.kill()
        running.communicate()
        if moved.exists():
            assert len(list(SweepFolder(moved).trials())) == 3
            assert count_trials(read_study(SweepFolder(moved))).complete == 3
        shutil.rmtree(moved, ignore_errors=True)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert count_trials(read_study(SweepFolder(moved))).complete == 3
    assert not (workplace / "runs" / ".moved.partial").exists()
