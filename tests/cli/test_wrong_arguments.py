"""Wrong arguments and damaged folders: one sentence, exit status 2, nothing half-written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def refuses(run, make) -> Callable[..., None]:
    """Return a function that asserts that a command line is refused and leaves no file behind."""

    def check(command: str, *words: str, code: int = 2) -> None:
        before = make.files()
        ran = run(*shlex.split(command))
        assert ran.code == code, ran
        assert ran.err.startswith("rfprune: ")
        assert len(ran.err.strip().splitlines()) == 1, ran.err
        for word in words:
            assert word in ran.err
        assert make.files() == before

    return check


# Each: a command line beside a right `tiny.yml` and `one.yml`, and words of the sentence.
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "verb": ("sweeep tiny.yml", ["'sweeep'", "'sweep'", "rfprune --help"]),
    "option": ("sweep tiny.yml --trails 3", ["--trails", "--trials", "rfprune sweep --help"]),
    "no argument": ("sweep", ["SWEEP", "rfprune sweep --help"]),
    "option without a value": ("sweep tiny.yml --trials", ["--trials"]),
    "no whole number": ("sweep tiny.yml --trials many", ["--trials", "'many'"]),
    "no trial": ("sweep tiny.yml --trials 0", ["--trials", "1"]),
    "no such file": ("sweep tinny.yml", ["tinny.yml: no such file", "'tiny.yml'"]),
    "no such trial": ("prune on.yml", ["on.yml: no such file", "'one.yml'"]),
    "no such sweep": ("sweep digit", ["'digit'", "'digits'"]),
    "a folder": ("sweep .", [".: is a folder", "a sweep file"]),
    "a folder of that name": ("check folder.yml", ["folder.yml: is a folder"]),
    "a data file": ("check tiny.npz", ["tiny.npz: cannot be read"]),
    "set without a value": ("sweep tiny.yml --set train.epochs", ["train.epochs", "KEY=VALUE"]),
    "set without a key": ("sweep tiny.yml --set =5", ["--set =5", "KEY=VALUE"]),
    "set an unknown key": ("sweep tiny.yml --set train.epoch=5", ["'epoch'", "'epochs'"]),
    "set below a value": ("sweep tiny.yml --set train.epochs.x=5", ["train.epochs.x"]),
    "set a wrong value": ("sweep tiny.yml --set train.epochs=many", ["train.epochs", "'many'"]),
    "set no YAML": ("sweep tiny.yml --set 'trials=[3'", ["--set trials=[3", "not valid YAML"]),
    "set a wrong entry": (
        "sweep tiny.yml --set search.prune.budget.dsp.low=2",
        ["search.prune.budget.dsp", "low 2", "high 0.8"],
    ),
    "storage that cannot be opened": (
        "sweep tiny.yml --set storage=sqlite:////nowhere/study.db",
        ["sqlite:////nowhere/study.db", "unable to open"],
    ),
    "set a sweep's key of a trial": ("prune one.yml --set trials=3", ["'trials'"]),
    "runs is a file": ("sweep tiny.yml --runs tiny.npz", ["tiny.npz", "cannot be created"]),
    "runs of a trial is a file": (
        "prune one.yml --runs tiny.npz",
        ["tiny.npz", "cannot be created"],
    ),
    "fresh start in a file": ("prune one.yml --fresh --runs tiny.npz", ["cannot be created"]),
    "pareto of nothing": ("pareto tiny", ["'tiny'", "runs"]),
    "pareto of a file that never ran": ("pareto tiny.yml", ["'tiny'", "No sweep has run"]),
    "export of nothing": ("export tiny --out o", ["'tiny'"]),
    "track of nothing": ("track tiny", ["'tiny'"]),
    "list of nothing": ("list modles", ["'modles'", "'models'", "profiles"]),
    "schema of nothing": ("schema swep", ["'swep'", "'sweep'", "design"]),
    "port": ("ui --port 99999", ["--port", "65535"]),
    "both ways": (
        "export tiny --out o --max dsp --min lut",
        ["--max and --min cannot be combined"],
    ),
    "knee and an end": (
        "export tiny --out o --knee --max dsp",
        ["--max and --knee cannot be combined"],
    ),
    "all three ways": (
        "export tiny --out o --knee --max a --min b",
        ["--max and --min and --knee"],
    ),
    "trial below zero": ("export tiny --out o --trial -1", ["--trial"]),
    "trial by name": ("export tiny --out o --trial best", ["--trial", "'best'"]),
    "step below zero": ("export tiny --out o --step -2", ["--step"]),
    "no place": ("export tiny", ["--out"]),
    "rows below zero": ("export tiny --out o --rows -1", ["--rows"]),
    "estimate of nothing": ("estimate no/where", ["no/where", "no such file or folder"]),
    "estimate of no design file": ("estimate no.yml", ["no.yml: no such file"]),
    "estimate of data": ("estimate tiny.npz", ["tiny.npz", "cannot be estimated"]),
    "estimate of a folder": ("estimate .", [".: is neither a trial nor an exported network"]),
    "estimate of a sweep file": (
        "estimate tiny.yml",
        ["tiny.yml: is a sweep", "rfprune check tiny.yml"],
    ),
    "sweep of a trial file": ("sweep one.yml", ["one.yml: is a trial", "rfprune prune one.yml"]),
    "prune of a sweep file": ("prune tiny.yml", ["tiny.yml: is a sweep", "rfprune sweep tiny.yml"]),
    "step of a design": ("estimate tiny.yml --step 3", ["--step 3", "no steps"]),
    "estimator of no module": ("estimate tiny.yml --by nowhere:x", ["cannot import 'nowhere'"]),
    "unknown estimator": ("estimate tiny.yml --by analytical", ["'analytical'", "'analytic'"]),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_command(refuses, make, case: str) -> None:
    make.sweep()
    make.trial()
    (make.folder / "folder.yml").mkdir()
    command, words = COMMANDS[case]
    refuses(command, *words)


def test_no_command_shows_the_help(run) -> None:
    ran = run()
    assert ran.code == 2
    assert "Usage: rfprune" in ran.out
    assert ran.err == "rfprune: no command was given. See 'rfprune --help'.\n"


def test_tracking_settings_are_checked_first(refuses, make, monkeypatch) -> None:
    monkeypatch.delenv("RFPRUNE_TRACKING")
    (make.folder / "mlflow.yml").write_text("tracking_uri: nowhere\n")
    make.sweep()
    before = make.files()
    for command in ("ui", "export tiny --out o --register net"):
        refuses(command, "mlflow.yml", "tracking_uri", "'nowhere'")
    assert make.files() == before


# Each: a command line beside the finished sweep `tiny`, and words of the sentence.
AFTER: dict[str, tuple[str, list[str]]] = {
    "pareto of another": ("pareto tinny", ["'tinny'", "'tiny'"]),
    "export of another": ("export tinny --out o", ["'tinny'", "'tiny'"]),
    "track of another": ("track tinny", ["'tinny'", "'tiny'"]),
    "unknown metric": ("export tiny --out o --max acuracy", ["'acuracy'", "'accuracy'"]),
    # Which quantities there are is known with the sweep's task and target.
    "where without a condition": ("export tiny --out o --where dsp", ["--where", "NAME OPERATOR"]),
    "where of the unknown": ("export tiny --out o --where 'dps<=3'", ["'dps'", "'dsp'"]),
    "where without a number": ("export tiny --out o --where 'dsp<=1e'", ["'1e'", "not a number"]),
    "no such trial": ("export tiny --out o --trial 99", ["trial == 99", "trial = 2"]),
    "no such step": (
        "export tiny --out o --trial 0 --step 99",
        ["trial == 0 and step == 99", "trial == 0 alone is met by"],
    ),
    "whether it fits": ("export tiny --out o --where 'fits=1'", ["--where", "NAME OPERATOR"]),
    "nothing meets it": (
        "export tiny --out o --where 'dsp<=0'",
        ["none of its", "dsp <= 0", "dsp <= 0: dsp ="],
    ),
    "nothing meets both": (
        "export tiny --out o --where 'dsp<=0' --where 'val_accuracy>=0.1'",
        ["val_accuracy >= 0.1 alone is met by"],
    ),
    "an unknown quantity": (
        "export tiny --out o --where 'power_mw<=0'",
        ["power_mw <= 0", "power_mw"],
    ),
    "a folder in use": ("export tiny --out runs --rows 0", ["runs: is in use", "empty folder"]),
    "a file": ("export tiny --out tiny.yml --rows 0", ["tiny.yml: is in use"]),
    "below a file": ("export tiny --out tiny.yml/o --rows 0", ["tiny.yml/o: cannot be written"]),
    "page in a folder": ("pareto tiny --html runs", ["--html runs: is a folder"]),
    "table below a file": ("pareto tiny --csv tiny.yml/o.csv", ["--csv tiny.yml/o.csv: cannot"]),
    "step": ("estimate runs/tiny/trials/0000 --step 9", ["009.pt", "only accepted steps"]),
    "changed file": (
        "sweep tiny.yml --set train.epochs=4",
        ["tiny", "train.epochs: 3 -> 4", "--fresh", "trials, resources, retries"],
    ),
    "changed space": (
        "sweep tiny --set search.prune.budget.dsp.high=0.7",
        ["search.prune.budget.dsp.high: 0.8 -> 0.7"],
    ),
    "network of a trial that is not there": (
        "estimate runs/tiny/trials/0009/steps/000.pt",
        ["runs/tiny/trials/0009: no such file or folder"],
    ),
}


@pytest.mark.parametrize("case", AFTER)
def test_command_after_a_sweep(refuses, finished: Path, case: str) -> None:
    command, words = AFTER[case]
    if command.startswith("sweep"):
        (finished / ".driver.lock").write_text("{}")
    refuses(command, *words)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _set(path: Path, key: str, value: Any) -> None:
    values = json.loads(path.read_text())
    values[key] = value
    path.write_text(json.dumps(values))


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str, list[str]]] = {
    "cut sweep": ("sweep.json", _cut, "pareto tiny", ["sweep.json: cannot be read"]),
    "cut sweep, continued": ("sweep.json", _cut, "sweep tiny", ["sweep.json: cannot be read"]),
    "another sweep": (
        "sweep.json",
        lambda path: path.write_text("[]"),
        "pareto tiny",
        ["sweep.json: is not a sweep of rfprune"],
    ),
    "sweep without a spec": (
        "sweep.json",
        lambda path: _set(path, "spec", 5),
        "sweep tiny",
        ["sweep.json: is not a sweep of rfprune"],
    ),
    "sweep with an unknown key": (
        "sweep.json",
        lambda path: _set(path, "spec", {"name": "tiny", "modle": {}}),
        "pareto tiny",
        ["sweep.json: unknown key 'modle'", "'model'"],
    ),
    "cut trial": (
        "trials/0000/spec.json",
        _cut,
        "estimate runs/tiny/trials/0000",
        ["spec.json: cannot be read"],
    ),
    "trial with a wrong value": (
        "trials/0000/spec.json",
        lambda path: _set(path, "train", {"epochs": "x"}),
        "estimate runs/tiny/trials/0000",
        ["spec.json: train.epochs", "'x'"],
    ),
    "trial with a wrong value, exported": (
        "trials/0000/spec.json",
        lambda path: _set(path, "train", {"epochs": "x"}),
        "export runs/tiny/trials/0000 --out o",
        ["spec.json: train.epochs", "'x'"],
    ),
    "foreign steps": (
        "trials/0000/steps.jsonl",
        lambda path: path.write_text('{"step": "one"}\n'),
        "estimate runs/tiny/trials/0000",
        ["steps.jsonl: is damaged", "step"],
    ),
    "no line of JSON": (
        "trials/0000/steps.jsonl",
        lambda path: path.write_text("step 0\n"),
        "estimate runs/tiny/trials/0000",
        ["steps.jsonl: is damaged"],
    ),
    "no step yet": (
        "trials/0000/steps.jsonl",
        lambda path: path.write_text(""),
        "estimate runs/tiny/trials/0000",
        ["has no accepted step yet"],
    ),
    "cut checkpoint": (
        "trials/0000/steps/000.pt",
        _cut,
        "estimate runs/tiny/trials/0000 --step 0",
        ["000.pt"],
    ),
    "no checkpoint": (
        "trials/0000/steps/000.pt",
        Path.unlink,
        "estimate runs/tiny/trials/0000 --step 0",
        ["000.pt: no such checkpoint"],
    ),
    "no data any more": (
        "../../tiny.npz",
        Path.unlink,
        "export tiny --out o --rows 0",
        ["tiny.npz", "does not exist"],
    ),
    "cut study": (
        "study.journal",
        lambda path: path.write_text("no journal\n"),
        "sweep tiny",
        ["study.journal", "--fresh"],
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_folder(refuses, finished: Path, case: str) -> None:
    name, damage, command, words = DAMAGE[case]
    damage(finished / name)
    if command.startswith("sweep"):
        (finished / ".driver.lock").write_text("{}")
    refuses(command, *words)


def test_a_damaged_trial_is_left_out_of_the_front(run, finished: Path) -> None:
    (finished / "trials" / "0001" / "steps.jsonl").write_text("nonsense\n")
    ran = run("pareto", "tiny", "--json")
    assert ran.code == 0
    assert {point["trial"] for point in ran.json["front"]} <= {0, 2}
    assert "trial 1 is left out" in ran.err


DESIGN = """
part: pynq-z2
layers:
  - {name: fc1, type: dense, n_in: 8, n_out: 8, strategy: resource, reuse_factor: 3}
"""
DESIGNS: dict[str, tuple[str, list[str]]] = {
    "reuse factor": (DESIGN, ["fc1", "reuse factor 3", "Valid: 1 2 4 8"]),
    "part": (DESIGN.replace("pynq-z2", "pynq-z9"), ["part", "'pynq-z9'", "'pynq-z2'"]),
    "layer type": (DESIGN.replace("dense", "dens"), ["layers.0.type", "dens", "'dense'"]),
    "unknown key": (DESIGN.replace("n_in", "n_inn"), ["layers.0.n_inn", "'n_in'"]),
    "missing size": (DESIGN.replace("n_in: 8, ", ""), ["fc1", "needs n_in"]),
    "no layers": ("part: pynq-z2\n", ["'layers' is missing"]),
    "a list": ("- 1\n", ["holds a list"]),
    "syntax": ("part: [\n", ["YAML syntax"]),
}


@pytest.mark.parametrize("case", DESIGNS)
def test_design_file(refuses, make, case: str) -> None:
    text, words = DESIGNS[case]
    (make.folder / "design.yml").write_text(text)
    refuses("estimate design.yml", "design.yml", *words)
