"""Running: what `check` knows beforehand, one trial, a sweep with Ray, interrupted and fresh."""

from __future__ import annotations

import errno
import json
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rfprune.cli.common import read_sweep_file
from rfprune.errors import SpecError
from rfprune.execution import drive


def test_check_shows_what_can_be_known(run, make) -> None:
    ran = run("check", make.sweep(), "--fast")
    assert ran.code == 0, ran
    assert "Sampler: random (as the sweep file says)." in ran.out
    assert "hardware.layers.output.reuse_factor" in ran.out
    assert "1 2 4 8 16 32" in ran.out
    assert "xc7z020" in ran.out
    assert "vitis_hls" in ran.out
    assert ran.out.splitlines()[-1] == f"  rfprune sweep {make.folder / 'tiny.yml'}"
    assert make.files() == ["tiny.npz", "tiny.yml"]


def test_check_as_json(run, make) -> None:
    found = run("check", make.sweep(), "--fast", "--json").json
    assert found["sweep"] == "tiny"
    assert [layer["name"] for layer in found["layers"]] == ["fc1", "output"]
    assert found["layers"][0]["valid_reuse_factors"] == [1, 2, 4, 8, 16, 32]
    assert {row["path"] for row in found["space"]} >= {"prune.budget.dsp"}
    assert set(found["reference_point"]) == {"val_accuracy", "dsp"}
    assert {row["name"] for row in found["costs"]} >= {"dsp", "bram18", "latency_cycles"}


def test_check_repeats_what_was_set(run, make) -> None:
    ran = run(
        "check", make.sweep(), "--fast", "--set", "constraints=[dsp <= 9]", "--runs", "my runs"
    )
    words = shlex.split(ran.out.splitlines()[-1])
    assert words[3:] == ["--set", "constraints=[dsp <= 9]", "--runs", "my runs"]


def test_override_of_one_end_of_a_range(run, make) -> None:
    changes = ["--set", "search.prune.budget.dsp.high=0.5", "--set", "search.train.epochs.low=1"]
    ran = run("check", make.sweep(), "--fast", *changes[:2], "--json")
    space = {row["path"]: row["values"] for row in ran.json["space"]}
    assert space["prune.budget.dsp"] == "0.3 to 0.5"


def test_a_name_is_a_file_then_a_run_then_a_shipped_sweep(finished: Path, workplace: Path) -> None:
    runs = workplace / "runs"
    assert read_sweep_file("tiny.yml", runs).source == "tiny.yml"
    recorded = read_sweep_file("tiny", runs)
    assert recorded.source == str(finished / "sweep.json")
    assert recorded.base_dir == workplace
    assert recorded.folder.path == finished
    shipped = read_sweep_file("digits", runs)
    assert Path(shipped.source).name == "digits.yml"
    assert shipped.folder.path == runs / "digits"
    (workplace / "tiny").write_text((workplace / "tiny.yml").read_text())
    assert read_sweep_file("tiny", runs).source == "tiny"
    with pytest.raises(SpecError, match=r"'tinny'.*'tiny'.*Known: .*digits.*tiny"):
        read_sweep_file("tinny", runs)


def test_a_renamed_run_is_still_the_run_that_it_holds(finished: Path) -> None:
    kept = finished.rename(finished.with_name("kept"))
    assert read_sweep_file("kept", kept.parent).folder.path == kept
    renamed = read_sweep_file("kept", kept.parent, ["name=other"])
    assert renamed.folder.path == kept.parent / "other"


def test_a_sweep_without_a_name_has_that_of_its_file(make, workplace: Path) -> None:
    text = make.sweep().read_text().replace("name: tiny\n", "", 1)
    (workplace / "nightly.yml").write_text(text)
    target = read_sweep_file("nightly.yml", workplace / "runs")
    assert target.spec.name == "nightly"
    assert target.folder.path == workplace / "runs" / "nightly"


def test_prune_export_and_estimate(run, make) -> None:
    trial = make.trial()
    ran = run("prune", trial)
    assert ran.code == 0, ran
    folder = Path("runs/one/trials/0000")
    assert "step 0: accepted" in ran.err
    assert "Pruning ended: " in ran.out
    assert "  rfprune export runs/one/trials/0000 --out export/one" in ran.out.splitlines()
    assert json.loads(Path("runs/one/trial.json").read_text()) == {"base_dir": str(make.folder)}
    assert (folder / "result.json").is_file()

    again = run("prune", trial, "--json")
    assert again.code == 0
    assert again.json["state"] == "complete"
    assert [step["step"] for step in again.json["steps"]] == list(range(len(again.json["steps"])))
    assert again.err == ""

    by_name = run("export", "one", "--out", "by_name", "--rows", "0")
    by_folder = run("export", folder, "--out", "by_folder", "--rows", "0")
    assert by_name.code == by_folder.code == 0, (by_name, by_folder)
    assert by_name.out.replace("by_name", "by_folder") == by_folder.out
    assert run("estimate", "by_name", "--json").json == run("estimate", "by_folder", "--json").json


NETWORKS = """
from torch import nn

def net(input_shape, n_classes):
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.ReLU(), nn.Linear(8, n_classes))
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_network_of_the_user_is_built_only_by_who_trusts_its_folder(run, make) -> None:
    (make.folder / "trusted_networks.py").write_text(NETWORKS)
    assert run("prune", make.trial(model={"name": "trusted_networks:net"})).code == 0
    ran = run("export", "one", "--out", "o", "--rows", "0", "--register", "one")
    assert ran.code == 0, ran
    assert "Registered as 'one' version 1" in ran.out
    assert "models:/one@champion" in ran.out
    report = Path("o/report.md").read_text()
    assert "`trusted_networks` must be importable" in report
    assert "run_code=True" in report
    refused = run("estimate", "o")
    assert refused.code == 2
    assert "--run-code" in refused.err
    assert run("estimate", "o", "--run-code").code == 0


def test_a_single_trial_is_exported_at_its_last_accepted_step(run, make) -> None:
    run("prune", make.trial())
    steps = run("prune", "one.yml", "--json").json["steps"]
    last = max(step["step"] for step in steps if step["accepted"])
    ran = run("export", "one", "--out", "last", "--rows", "0")
    assert f"trial 0, step {last}: the last accepted step" in ran.out
    ran = run("export", "one", "--out", "first", "--rows", "0", "--max", "dsp")
    assert "step 0: the largest dsp" in ran.out


def test_prune_goes_on_from_the_last_accepted_step(run, make) -> None:
    trial = make.trial()
    whole = run("prune", trial, "--json").json["steps"]
    steps = Path("runs/one/trials/0000/steps.jsonl")
    lines = steps.read_text().splitlines(keepends=True)
    Path("runs/one/trials/0000/result.json").unlink()
    steps.write_text("".join(lines[:2]) + lines[2][:20])
    ran = run("prune", trial)
    assert "step 1:" not in ran.err
    assert "step 2:" in ran.err
    resumed = run("prune", trial, "--json").json["steps"]
    for before, after in zip(whole, resumed, strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}


def test_a_full_disk_names_the_run_folder(run, make, monkeypatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("rfprune.results.folders.append_line", full)
    ran = run("prune", make.trial())
    assert ran.code == 1
    assert ran.err == (
        "rfprune: runs/one: cannot be written (No space left on device). Finished work is kept; "
        "run the same command to resume.\n"
    )
    monkeypatch.undo()
    assert run("prune", make.folder / "one.yml", "--runs", make.folder / "runs").code == 0


def test_a_single_trial_is_no_sweep(run, make) -> None:
    run("prune", make.trial())
    for command in ("pareto", "track"):
        ran = run(command, "one")
        assert ran.code == 2
        assert "runs/one: is a single trial" in ran.err


def test_prune_refuses_a_folder_of_another_trial_until_fresh(run, make) -> None:
    trial = make.trial()
    assert run("prune", trial).code == 0
    before = make.files()
    refused = run("prune", trial, "--set", "prune.steps=1")
    assert refused.code == 2
    assert "prune.steps: 2 -> 1" in refused.err
    assert "--fresh" in refused.err
    wrong = run("prune", trial, "--fresh", "--set", "prune.budget.dsp=0.0001")
    assert wrong.code == 2
    assert make.files() == before
    fresh = run("prune", trial, "--fresh", "--set", "prune.steps=1")
    assert fresh.code == 0, fresh
    (kept,) = Path("runs").glob("one.old-*")
    assert f"kept in {kept}" in fresh.err
    assert (kept / "trials" / "0000" / "result.json").is_file()


def test_prune_refuses_the_folder_of_a_sweep(run, make, finished: Path) -> None:
    trial = make.trial()
    trial.rename("tiny.yml")
    refused = run("prune", "tiny.yml")
    assert refused.code == 2
    assert "runs/tiny: holds a sweep of the same name" in refused.err
    assert not (finished / "trial.json").exists()


def test_tracking_is_off_when_asked(run, make, finished: Path, monkeypatch) -> None:
    monkeypatch.delenv("RFPRUNE_TRACKING")
    before = make.files()
    ran = run("sweep", "tiny", "--no-track")
    assert ran.code == 0, ran
    assert set(make.files()) - set(before) <= {"runs/tiny/.driver.lock"}


def test_a_finished_sweep_shows_its_front_and_what_comes_next(run, finished: Path) -> None:
    ran = run("sweep", "tiny.yml")
    assert ran.code == 0, ran
    assert "3 of 3 trials complete, 0 failed" in ran.out
    commands = ran.out.split("Next:\n")[1].splitlines()
    verbs = [shlex.split(line)[1] for line in commands]
    assert verbs == ["pareto", "export", "ui", "sweep"]
    exported = run(*shlex.split(commands[1])[1:], "--rows", "0")
    assert exported.code == 0, exported
    assert Path("export/tiny/model.pt").is_file()


def test_where_every_point_was_tried_no_more_trials_are_offered(
    run, finished: Path, monkeypatch
) -> None:
    ended = drive._outcome
    monkeypatch.setattr(drive, "_outcome", lambda *args: replace(ended(*args), exhausted=True))
    ran = run("sweep", "tiny.yml")
    assert ran.code == 0, ran
    assert "rfprune ui" in ran.out
    assert "--trials" not in ran.out


def test_fresh_refuses_before_it_moves_the_old_run(run, make, finished: Path) -> None:
    before = make.files()
    wrong = run("sweep", "tiny", "--fresh", "--set", "data.file=other.npz")
    assert wrong.code == 2
    assert "other.npz" in wrong.err
    assert make.files() == before


@pytest.mark.slow
def test_sweep_with_ray_goes_on_and_begins_anew(run, make, monkeypatch) -> None:
    sweep = make.sweep(trials=2)
    first = run("sweep", sweep)
    assert first.code == 0, first
    assert "2 trials into runs/tiny. Sampler: random" in first.err
    assert "[2/2]" in first.err
    more = run("sweep", "tiny", "--trials", "3")
    assert more.code == 0, more
    assert "3 of 3 trials complete" in more.out
    assert "[3/3]" in more.err
    fresh = run("sweep", sweep, "--fresh", "--trials", "1", "--set", "train.epochs=2")
    assert fresh.code == 0, fresh
    (kept,) = Path("runs").glob("tiny.old-*")
    assert len(list((kept / "trials").iterdir())) == 3
    assert len(list(Path("runs/tiny/trials").iterdir())) == 1
    assert not Path("mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_track_writes_what_ran_without_tracking(run, finished: Path, monkeypatch) -> None:
    monkeypatch.delenv("RFPRUNE_TRACKING")
    ran = run("track", "tiny")
    assert ran.code == 0, ran
    assert "3 trials are in MLflow" in ran.out
    assert Path("mlflow.db").is_file()
    points = run("pareto", "tiny", "--json").json["front"]
    assert all(point["run_id"] for point in points)


# Raised, not signalled: a shell that starts the tests in the background has them ignore SIGINT.
STOPPING = """
def net(input_shape, n_classes):
    raise KeyboardInterrupt
"""


def test_an_interrupt_is_one_sentence_and_status_130(run, make) -> None:
    (make.folder / "stopping_networks.py").write_text(STOPPING)
    path = make.sweep(model={"name": "stopping_networks:net"})
    before = make.files()
    for verb in ("check", "sweep"):
        ran = run(verb, path)
        assert ran.code == 130
        assert ran.err.strip() == (
            "rfprune: interrupted; finished work is kept. Run the same command to resume."
        )
    assert make.files() == before


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_by_the_command_it_names(make) -> None:
    make.sweep(trials=6, train__epochs=40)
    program = [sys.executable, "-m", "rfprune"]
    command = [*program, "sweep", "tiny.yml"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=make.folder) as sweep:
        assert sweep.stderr is not None
        for line in sweep.stderr:
            if line.startswith("[1/6]"):
                sweep.send_signal(signal.SIGINT)
                break
        said = sweep.stderr.read()
        assert sweep.wait(60) == 130, said
    (advice,) = [line for line in said.splitlines() if line.startswith("Interrupted.")]
    words = shlex.split(advice.removeprefix("Interrupted. To resume: "))
    assert words[0] == "rfprune"
    goes_on = subprocess.run(
        [*program, *words[1:]], capture_output=True, text=True, cwd=make.folder, check=False
    )
    assert goes_on.returncode == 0, goes_on.stderr
    assert "6 of 6 trials complete" in goes_on.stdout
    assert "Traceback" not in said + goes_on.stderr


@pytest.mark.slow
def test_a_sweep_ends_in_time_and_another_begins_warm(run, make, finished: Path) -> None:
    rule = {"stagnation": 2, "growth": 1.0}
    changes = {"name": "warm", "warm_start": ["tiny"], "stop": rule, "trials": 40}
    ran = run("sweep", make.sweep(**changes), "--no-track")
    assert ran.code == 0, ran
    assert "Note: warm start: 3 trials of 'tiny' are told to the study." in ran.err
    assert "The sweep has ended by stop.stagnation: the hypervolume has grown by" in ran.out
    folder = finished.parent / "warm"
    assert 3 <= len(list((folder / "trials").iterdir())) < 40
    # What 'tiny' has trained is the same file here.
    (ours,) = folder.glob("dense/*/dense.pt")
    assert any(ours.samefile(theirs) for theirs in finished.glob("dense/*/dense.pt"))
    ran = run("sweep", make.sweep(**{**changes, "name": "cold", "warm_start": ["tinny"]}))
    assert ran.code == 2
    assert "warm_start: no sweep 'tinny' under runs. Did you mean 'tiny'?" in ran.err
    assert not (finished.parent / "cold").exists()
