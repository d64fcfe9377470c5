"""Wrong sweep files, trial files and data: one sentence, exit status 2, nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REUSE = "hardware.layers.*.reuse_factor"
BUDGET = {"low": 0.3, "high": 0.8}


def refused(ran: Any, *words: str) -> None:
    """Assert that a command was refused with one sentence that holds all `words`."""
    assert ran.code == 2, ran
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("rfprune: ")
    assert lines[0].endswith((".", ")", "?"))
    assert "Traceback" not in ran.err
    for word in words:
        assert word in lines[0]


@pytest.fixture
def refuses(run, make) -> Callable[..., None]:
    """Return a function that asserts that a command is refused and leaves no file behind."""

    def check(arguments: list[Any], *words: str) -> None:
        before = make.files()
        refused(run(*arguments), *words)
        assert make.files() == before

    return check


TEXTS: dict[str, tuple[str, list[str]]] = {
    "syntax": ("name: [digits\nmodel: {}\n", ["tiny.yml:2", "YAML syntax"]),
    "tab": ("name: x\n\tmodel: y\n", ["tiny.yml:2:1", "YAML syntax"]),
    "duplicate key": ("name: a\nname: b\n", ["tiny.yml:2:1", "'name' appears twice"]),
    "unhashable key": ("? [a, b]\n: 1\n", ["YAML syntax", "a key must be one word"]),
    "python object": ("name: !!python/object:os.x {}\n", ["YAML syntax"]),
    "control character": ("name: a\0b\n", ["tiny.yml", "YAML syntax"]),
    "a list": ("- name: digits\n", ["holds a list", "a mapping of keys"]),
    "one word": ("digits\n", ["holds text", "a mapping of keys"]),
    "empty": ("# nothing\n", ["tiny.yml: is empty"]),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_that_is_no_sweep(refuses, make, case: str) -> None:
    text, words = TEXTS[case]
    (make.folder / "tiny.yml").write_text(text)
    refuses(["sweep", "tiny.yml"], *words)
    refuses(["prune", "tiny.yml"], *words)


def test_bytes_that_are_no_text(refuses, make) -> None:
    (make.folder / "tiny.yml").write_bytes(b"name: \xff\xfe\n")
    refuses(["sweep", "tiny.yml"], "tiny.yml: cannot be read")


# Each: changes to a right file, and words of the sentence. Keys are dotted with "__".
FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key at the top": ({"serach": {}}, ["'serach'", "'search'"]),
    "unknown key below": ({"train__epoch": 3}, ["'train.epoch'", "'epochs'"]),
    "unknown key of a layer": (
        {"hardware__layers": {"fc1": {"reuse": 2}}},
        ["'hardware.layers.fc1.reuse'", "reuse_factor"],
    ),
    "unknown key of an entry": (
        {"search": {"prune.budget.dsp": {"low": 0.1, "hihg": 0.5}}},
        ["search.prune.budget.dsp.hihg", "'high'"],
    ),
    "unknown key of the data": ({"data__fiel": "x"}, ["data.fiel", "'file'"]),
    "missing key": ({"search": {"prune.budget.dsp": {"low": 0.1}}}, ["high", "is missing"]),
    "text for a number": ({"train__epochs": "many"}, ["train.epochs", "'many'", "whole number"]),
    "a number in quotes": ({"train__epochs": "5"}, ["train.epochs", "'5'", "whole number"]),
    "yes for a number": ({"train__epochs": True}, ["train.epochs", "True", "whole number"]),
    "a fraction of an epoch": ({"train__epochs": 2.5}, ["train.epochs", "2.5", "whole number"]),
    "a number for a section": ({"train": 5}, ["train", "mapping of keys", "5"]),
    "a list for a number": ({"trials": [3]}, ["trials", "whole number", "[3]"]),
    "text for a list": ({"constraints": "dsp<5"}, ["constraints", "must be a list"]),
    "infinite": ({"hardware__clock_ns": float("inf")}, ["hardware.clock_ns", "inf", "finite"]),
    "zero": ({"trials": 0}, ["trials", "above 0", "value: 0"]),
    "too large": ({"prune__tolerance": 1.5}, ["prune.tolerance", "at most 1", "1.5"]),
    "name with a blank": ({"name": "a b"}, ["name", "'a b'"]),
    "name that leaves the folder": ({"name": "../x"}, ["name", "'../x'"]),
    "unknown model": ({"model": {"name": "mpl"}}, ["model", "'mpl'", "'mlp'", "lenet"]),
    "unknown argument of the model": (
        {"model__args": {"hiden": [4]}},
        ["model.args.hiden", "'hidden'"],
    ),
    "unknown data": ({"data": {"name": "digit"}}, ["data", "'digit'", "'digits'"]),
    "no data": ({"data": {}}, ["data", "'name'", "'file'"]),
    "two data": ({"data": {"name": "digits", "file": "x.npz"}}, ["data", "both"]),
    "unknown part": ({"hardware__part": "pynk-z2"}, ["hardware.part", "'pynk-z2'", "'pynq-z2'"]),
    "unknown backend": ({"hardware__backend": "Vitas"}, ["hardware.backend", "'Vitas'", "'Vitis'"]),
    "unknown method": ({"prune__method": "gredy"}, ["prune.method", "'gredy'", "'greedy'"]),
    "unknown method among choices": (
        {"search": {"prune.method": {"choices": ["greedy", "gredy", "none"]}}},
        ["prune.method", "'gredy'", "'greedy'"],
    ),
    "unknown estimator": ({"estimator": "analytical"}, ["estimator", "'analytical'", "'analytic'"]),
    "estimator of the user that is not there": (
        {"estimator": "json:nope"},
        ["estimator: 'json:nope'", "no 'nope'"],
    ),
    "method of the user that is none": (
        {"prune__method": "json:loads"},
        ["prune.method: 'json:loads'", "not a rfprune.methods.Method"],
    ),
    "unknown score": ({"prune__score": "tailor"}, ["prune.score", "'tailor'", "'taylor'"]),
    "unknown sampler": ({"sampler__name": "nsga"}, ["sampler.name", "'nsga'", "nsga2"]),
    "unknown objective": ({"objectives": {"dps": "min"}}, ["objectives", "'dps'", "'dsp'"]),
    "test accuracy as objective": (
        {"objectives": {"accuracy": "max"}},
        ["objectives", "'accuracy'", "val_accuracy"],
    ),
    "float accuracy as objective": (
        {"objectives": {"float_val_accuracy": "max"}},
        ["objectives", "'float_val_accuracy' is in floats", "'val_accuracy'"],
    ),
    "float accuracy as constraint": (
        {"constraints": ["float_val_accuracy >= 0.9"]},
        ["constraints", "'float_val_accuracy' is in floats", "'val_accuracy'"],
    ),
    "what is no quantity as constraint": (
        {"constraints": ["dense == 0"]},
        ["'dense == 0'", "not measured in a trial"],
    ),
    "not fitting as objective": ({"objectives": {"fits": "min"}}, ["'fits' cannot be min"]),
    "no repeats": ({"repeats": 0}, ["repeats", "above 0", "value: 0"]),
    "half a repeat": ({"repeats": 2.5}, ["repeats", "2.5", "whole number"]),
    "repeats in words": ({"repeats": "three"}, ["repeats", "'three'", "whole number"]),
    "type of an output": (
        {"hardware__layers": {"output": {"output_precision": "fixed<70,4>"}}},
        ["hardware.layers.output.output_precision", "width 70", "1 to 64"],
    ),
    "objective the wrong way": ({"objectives": {"dsp": "max"}}, ["objectives", "'dsp'", "min"]),
    "no objective": ({"objectives": {}}, ["objectives", "must not be empty"]),
    "nothing searched": ({"search": {}}, ["search", "must not be empty"]),
    "precision": ({"hardware__precision": "fix<16>"}, ["hardware.precision", "fix<16>", "fixed<"]),
    "precision of a layer": (
        {"hardware__layers": {"fc1": {"weight_precision": "fixed<16>"}}},
        ["hardware.layers.fc1.weight_precision", "fixed<16>"],
    ),
    "constraint": ({"constraints": ["dsp < many"]}, ["constraints", "dsp < many", "NUMBER"]),
    "constraint on the unknown": ({"constraints": ["dps < 5"]}, ["constraints", "'dps'", "'dsp'"]),
    "constraint on the test": (
        {"constraints": ["accuracy > 0.9"]},
        ["constraints", "accuracy", "val_accuracy"],
    ),
    "constraint on the trial": ({"constraints": ["trial < 5"]}, ["constraints", "trial"]),
    "searched path": (
        {"search": {"prune.budgets.dsp": BUDGET}},
        ["prune.budgets.dsp", "'budgets'", "'budget'"],
    ),
    "searched layer": (
        {"search": {"hardware.layers.fc3.reuse_factor": {"valid": True}}},
        ["hardware.layers.fc3.reuse_factor", "'fc3'", "fc1, output"],
    ),
    "searched resource": ({"search": {"prune.budget.dps": BUDGET}}, ["prune.budget.dps", "dsp"]),
    "step": (
        {"search": {"train.epochs": {"low": 2, "high": 4, "step": 5}}},
        ["search.train.epochs", "step 5", "2 to 4", "is 2"],
    ),
    "low above high": (
        {"search": {"train.epochs": {"low": 5, "high": 4}}},
        ["search.train.epochs", "low 5", "high 4"],
    ),
    "log from zero": (
        {"search": {"prune.regularizer.weight": {"low": 0, "high": 1, "log": True}}},
        ["prune.regularizer.weight", "log", "low > 0"],
    ),
    "no choices": (
        {"search": {"prune.score": {"choices": []}}},
        ["search.prune.score", "must not be empty"],
    ),
    "a wrong choice": (
        {"search": {"prune.score": {"choices": ["l1", "l3"]}}},
        ["prune.score", "'l3'", "l2"],
    ),
    "grid over a continuum": ({"sampler__name": "grid"}, ["sampler.name", "grid", "no step"]),
    "reuse factor": (
        {"hardware__layers": {"fc1": {"reuse_factor": 3}}, "search": {"prune.budget.dsp": BUDGET}},
        ["fc1", "3", "8x8", "1 2 4 8"],
    ),
    "reuse factor of all": (
        {"hardware__reuse_factor": 3, "search": {"prune.budget.dsp": BUDGET}},
        ["fc1", "reuse factor 3", "1 2 4 8"],
    ),
    "reuse factor among choices": (
        {"search": {"hardware.layers.fc1.reuse_factor": {"choices": [2, 3]}}},
        ["search.hardware.layers.fc1.reuse_factor", "reuse factor 3", "1 2 4 8"],
    ),
    "reuse factor in a range": (
        {"search": {"hardware.layers.fc1.reuse_factor": {"low": 2, "high": 4}}},
        ["search.hardware.layers.fc1.reuse_factor", "reuse factor 3", "valid: true"],
    ),
    "reuse factor to start with": (
        {"start": [{"hardware.layers.fc1.reuse_factor": 3}]},
        ["start[0]", "hardware.layers.fc1.reuse_factor", "3", "1 2 4"],
    ),
    "start at what is not searched": (
        {"start": [{"prune.score": "l1"}]},
        ["start[0]", "prune.score", "not searched"],
    ),
    "reuse factor 1 unrolled": (
        {"hardware__strategy": "resource_unrolled"},
        ["resource_unrolled", "reuse factor above 1", "latency"],
    ),
    "layer of the hardware": (
        {"hardware__layers": {"fc9": {"reuse_factor": 2}}},
        ["hardware.layers", "'fc9'", "fc1, output"],
    ),
    "layer of the pruning": (
        {"prune__layers": {"outptu": {"prune": False}}},
        ["prune.layers", "'outptu'", "'output'"],
    ),
    "budget of the unknown": ({"prune__budget": {"dps": 0.5}}, ["prune.budget", "'dps'", "'dsp'"]),
    "budget below the floors": (
        {"prune__budget": {"dsp": 0.001}, "search": {REUSE: {"valid": True, "high": 2}}},
        ["prune.budget.dsp", "cannot be reached", "The least is"],
    ),
    "budget where nothing vanishes": (
        {
            "prune__budget": {"dsp": 0.5},
            "hardware__strategy": "resource",
            "search": {REUSE: {"valid": True, "high": 2}},
        },
        ["prune.budget.dsp", "cannot be reached", "would not vanish"],
    ),
    "storage": ({"storage": "study.db"}, ["storage", "'study.db'", "sqlite:///"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_sweep_file(refuses, make, case: str) -> None:
    changes, words = FAULTS[case]
    path = make.sweep(**changes)
    refuses(["sweep", path], str(path), *words)


TRIAL_FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": ({"prune__step": 3}, ["'prune.step'", "'steps'"]),
    "a sweep's key": ({"trials": 3}, ["'trials'"]),
    "reuse factor": ({"hardware__reuse_factor": 3}, ["reuse factor 3", "1 2 4 8"]),
    "budget": ({"prune__budget": {"dsp": 0.001}}, ["prune.budget.dsp", "cannot be reached"]),
    "method": ({"prune__method": "gredy"}, ["prune.method", "'greedy'"]),
    "part": ({"hardware__part": "nope"}, ["hardware.part", "'nope'", "rfprune list parts"]),
}


@pytest.mark.parametrize("case", TRIAL_FAULTS)
def test_trial_file(refuses, make, case: str) -> None:
    changes, words = TRIAL_FAULTS[case]
    path = make.trial(**changes)
    refuses(["prune", path], str(path), *words)


def _rows(**changes: Any) -> dict[str, Any]:
    return changes


_X = np.zeros((180, 8), np.float32)
_NAN = np.where(np.arange(1440).reshape(180, 8) == 800, np.nan, 1.0)
_Y = np.arange(180) % 3
DATA: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a missing array": (_rows(y_train=None), ["'y_train' is missing"]),
    "half a test part": (_rows(y_test=None), ["'y_test' is missing"]),
    "not a number": (_rows(x_train=_NAN), ["x_train", "NaN", "row 100"]),
    "too few labels": (_rows(y_train=_Y[:100]), ["y_train", "100", "180"]),
    "other rows in the test": (_rows(x_test=np.zeros((60, 7), np.float32)), ["x_test", "(7,)"]),
    "five axes": (_rows(x_train=_X.reshape(180, 2, 2, 2, 1)), ["x_train", "(180, 2, 2, 2, 1)"]),
    "labels in two columns": (_rows(y_train=np.stack([_Y, _Y], 1)), ["y_train", "(180, 2)"]),
    "a negative label": (_rows(y_train=_Y - 1), ["y_train", "negative"]),
    "a gap in the labels": (_rows(y_train=_Y * 2), ["y_train", "0..n_classes-1"]),
    "an unknown label": (_rows(y_test=np.full(60, 7)), ["y_test", "label 7", "0..2"]),
    "labels with fractions": (_rows(y_train=_Y + 0.5), ["y_train", "integers"]),
    "text": (_rows(x_train=np.full((180, 8), "a")), ["x_train", "real numbers"]),
    "objects": (_rows(x_train=np.full((180, 8), None)), ["x_train", "Python objects"]),
}


@pytest.mark.parametrize("case", DATA)
@pytest.mark.filterwarnings("ignore::UserWarning:numpy")
def test_data_file(refuses, make, case: str) -> None:
    changes, words = DATA[case]
    make.data(**changes)
    path = make.sweep()
    refuses(["sweep", path], str(path), "tiny.npz", *words)


def test_data_file_that_is_not_there(refuses, make) -> None:
    path = make.sweep(data__file="tinny.npz")
    refuses(["sweep", path], str(path), "tinny.npz", str(make.folder))


def test_data_file_that_is_no_archive(refuses, make) -> None:
    (make.folder / "tiny.npz").write_text("no archive")
    path = make.sweep()
    refuses(["sweep", path], str(path), "tiny.npz", "not a readable .npz")


NETWORKS = """
from torch import nn

def gelu(input_shape, n_classes):
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, n_classes))

def narrow(input_shape, n_classes):
    return nn.Linear(4, n_classes)

def few(input_shape, n_classes):
    return nn.Linear(8, n_classes - 1)

def broken(input_shape, n_classes):
    raise RuntimeError("no weights today")

def nothing(input_shape, n_classes):
    return None

class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)
    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else self.fc(-x)

def branch(input_shape, n_classes):
    return Branch()

word = "no function"
"""
MODELS: dict[str, tuple[str, list[str]]] = {
    "layer type": ("gelu", [" 1: ", "GELU", "ReLU", "list layers"]),
    "input shape": ("narrow", ["narrow", "(8,)"]),
    "output shape": ("few", ["few", "(2, 2)", "(2, 3)"]),
    "function that raises": ("broken", ["broken", "RuntimeError", "no weights today"]),
    "function that returns nothing": ("nothing", ["nothing", "NoneType", "torch.nn.Module"]),
    "branch on data": ("branch", ["Branch", "torch.fx"]),
    "function that does not exist": ("narow", ["narow", "'narrow'"]),
    "no function at all": ("word", ["word", "not a function"]),
}


@pytest.mark.parametrize("case", MODELS)
def test_network_of_the_user(refuses, make, case: str, request) -> None:
    name, words = MODELS[case]
    module = f"networks_{request.node.callspec.indices['case']}"
    (make.folder / f"{module}.py").write_text(NETWORKS)
    path = make.sweep(model={"name": f"{module}:{name}"}, search={"prune.budget.dsp": BUDGET})
    refuses(["sweep", path], str(path), *words)


def test_module_that_does_not_exist(refuses, make) -> None:
    path = make.sweep(model={"name": "no_such_module:net"})
    refuses(["sweep", path], str(path), "no_such_module")


def test_module_that_cannot_be_imported(refuses, make) -> None:
    (make.folder / "crashing_module.py").write_text("1 / 0\n")
    path = make.sweep(model={"name": "crashing_module:net"})
    refuses(["sweep", path], str(path), "crashing_module", "ZeroDivisionError")


def test_images_for_a_network_of_rows(refuses, make) -> None:
    path = make.sweep(data={"name": "digits_images"})
    refuses(["sweep", path], str(path), "mlp", "(1, 8, 8)")


def test_saved_network_that_is_not_there(refuses, make) -> None:
    path = make.sweep(model={"name": "net.pt"})
    refuses(["sweep", path], str(path), "net.pt", "does not exist")


def test_check_and_prune_refuse_what_sweep_refuses(refuses, make: Any) -> None:
    sweep, trial = make.sweep(train__epochs=-1), make.trial(train__epochs=-1)
    for verb, path in (("check", sweep), ("sweep", sweep), ("prune", trial)):
        refuses([verb, path], str(path), "train.epochs", "at least 0")


def test_errors_name_the_file_once(run, make) -> None:
    path: Path = make.sweep(hardware__part="nope")
    assert run("check", path).err.count(str(path)) == 1
