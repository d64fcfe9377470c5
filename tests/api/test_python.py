"""`rfprune.prune`, `open`, `check`, `estimate` and what they return; nothing here starts Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pandas import DataFrame
from torch import nn

import rfprune
from rfprune.errors import InputError, RunsError, SpecError, UnknownNameError
from tests.api.conftest import SETTINGS, CellNet, X, Y


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rfprune.Sweep]:
    """One pruned network, whose folder is the current one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trial"))
        torch.manual_seed(0)
        yield rfprune.prune(model=CellNet(), data=(X, Y), name="one", **SETTINGS)


def test_a_network_of_a_cell_is_pruned_and_opened_again(trial: rfprune.Sweep) -> None:
    assert trial.name == "one"
    best = trial.best()
    assert (best.step, best.on_front) == (2, True)
    network = best.model()
    assert sum(int((p == 0).sum()) for p in network.parameters()) > 20
    scores = network(torch.from_numpy(X)).argmax(1).numpy() == Y
    assert scores.mean() > 0.4
    again = rfprune.open("one")
    assert again.front.equals(trial.front)
    assert repr(rfprune.open("runs/one")) == repr(trial)
    assert again.best().metrics == best.metrics
    masks = best.masks()
    assert {name: mask.shape for name, mask in masks.items()} == {"fc1": (8, 6), "fc2": (3, 8)}
    estimate = best.estimate()
    assert estimate.total.dsp == best.metrics["dsp"]


def test_nothing_is_masked_of_the_dense_network(trial: rfprune.Sweep) -> None:
    dense = trial.best(max="dsp")
    assert dense.step == 0
    masks = dense.masks()
    assert {name: mask.shape for name, mask in masks.items()} == {"fc1": (8, 6), "fc2": (3, 8)}
    assert all(mask.all() for mask in masks.values())


def test_the_front_is_a_table_with_the_dense_network(trial: rfprune.Sweep) -> None:
    front = trial.front
    assert list(front.columns[:5]) == ["trial", "step", "dense", "on_front", "feasible"]
    assert front["dense"].sum() == 1
    assert {"val_accuracy", "accuracy", "dsp", "fits", "val_accuracy_error"} <= set(front.columns)
    assert len(trial.points) >= len(front)
    assert trial.trials["state"].tolist() == ["complete"]
    assert rfprune.pareto("one").equals(front)


def test_everything_draws_itself(trial: rfprune.Sweep, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    best = trial.best()
    kinds = ("front", "layers", "parallel", "hypervolume", "importance")
    figures = [trial.plot(kind) for kind in kinds]  # type: ignore[arg-type]
    figures += [best.plot(kind) for kind in ("front", "layers", "groups")]  # type: ignore[arg-type]
    assert all(isinstance(figure, Figure) for figure in figures)
    page = trial.html(tmp_path / "all.html", ["front", "layers"]).read_text()
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl", "").replace(
        "http://creativecommons", ""
    ).replace("https://matplotlib.org", "")
    assert "<svg" in trial._repr_html_()
    assert "val_accuracy" in best._repr_html_()
    with pytest.raises(UnknownNameError, match=r"unknown picture 'frnt'. Did you mean 'front'"):
        trial.plot("frnt")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown layer 'fc3'"):
        best.plot("groups", layer="fc3")


def test_the_same_trial_again_is_not_trained_twice(here: Path) -> None:
    steps: list[int] = []

    def run(**more: Any) -> rfprune.Sweep:
        settings = {**SETTINGS, **more}
        return rfprune.prune(
            model=CellNet(),
            data=(X, Y),
            name="one",
            on_step=lambda r: steps.append(r.step),
            **settings,
        )

    run()
    assert steps == [0, 1, 2]
    # Other random weights of the same code: a notebook that was run again.
    run()
    assert steps == [0, 1, 2]
    with pytest.raises(RunsError, match=r"train.epochs: 2 -> 1"):
        run(train={**SETTINGS["train"], "epochs": 1})
    run(train={**SETTINGS["train"], "epochs": 1}, fresh=True)
    assert steps == [0, 1, 2, 0, 1, 2]
    assert len(list((here / "runs").iterdir())) == 2


def test_wrong_input_leaves_nothing_behind(here: Path) -> None:
    with pytest.raises(SpecError, match=r"rfprune.prune: unknown key 'hardwear'. Did you mean"):
        rfprune.prune(model=CellNet(), data=(X, Y), hardwear={})
    with pytest.raises(InputError):
        rfprune.prune(model=nn.Linear(5, 3), data=(X, Y))
    with pytest.raises(InputError, match="sweep"):
        rfprune.check(42)  # type: ignore[arg-type]
    with pytest.raises(RunsError):
        rfprune.open("nothing")
    assert list(here.iterdir()) == []


def test_choosing_says_what_is_wrong(trial: rfprune.Sweep) -> None:
    assert trial.best(where="dsp<=1000", max="val_accuracy").explanation
    with pytest.raises(SpecError, match="max and knee cannot be combined"):
        trial.best(max="val_accuracy", knee=True)
    with pytest.raises(SpecError, match="where: 'dps<=60' names the unknown quantity 'dps'"):
        trial.best(where="dps<=60")
    with pytest.raises(RunsError, match="none of its"):
        trial.best(where=["dsp<0"])
    with pytest.raises(UnknownNameError, match="no accepted step 7 of trial 0"):
        trial.point(0, 7)
    assert trial.point(0).step == 2


def test_check_takes_objects_and_writes_nothing(here: Path) -> None:
    search = {"prune.budget.dsp": {"low": 0.3, "high": 0.8}}
    found = rfprune.check(model=CellNet, data=(X, Y), search=search, rehearse=False, **SETTINGS)
    assert found.sweep == "sweep"
    dsp = next(row for row in found.costs if row.name == "dsp")
    assert dsp.high is not None
    assert dsp.high > 0
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("shape", [8, "wide", (8, None)])
def test_estimate_of_a_shape_that_is_none(shape: Any) -> None:
    with pytest.raises(SpecError, match=r"input_shape is .*; a tuple of whole numbers"):
        rfprune.estimate(CellNet(), shape)


def test_estimate_of_nothing() -> None:
    with pytest.raises(InputError, match="model is a NoneType"):
        rfprune.estimate(None, (8,))  # type: ignore[arg-type]


def test_estimate_of_a_module_counts_its_zeros() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    hardware = {"part": "pynq-z2", "strategy": "latency", "precision": "ap_fixed<18,8>"}
    full = rfprune.estimate(net, (8,), hardware={"part": "pynq-z2"}).total.dsp
    with torch.no_grad():
        net[0].weight[:4] = 0.0
    half = rfprune.estimate(net, (8,), hardware={"part": "pynq-z2"}).total.dsp
    assert full is not None
    assert half is not None
    # Half of the first layer, and what multiplied its outputs where these are constant now.
    assert full - half >= 24
    assert net.training
    with pytest.raises(SpecError, match="estimate: hardware"):
        rfprune.estimate(net, (8,), hardware={**hardware, "prat": 1})
    with pytest.raises(SpecError, match="input_shape"):
        rfprune.estimate(net)


def test_arrays_are_written_once_whatever_their_type(here: Path) -> None:
    kinds = (X, X.astype(np.float64))
    for kind in kinds:
        rfprune.prune(model=CellNet(), data=(kind, Y), name="a", fresh=True, **SETTINGS)
    homes = sorted((here / "runs").glob("a*/given/data_*"))
    assert len({home.name for home in homes}) == 2


SEARCH = {"prune.budget.dsp": {"low": 0.3, "high": 0.8}}
HOLED = np.where(np.arange(X.size).reshape(X.shape) == 20, np.nan, X)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data": (HOLED, Y)}, r"^rfprune\.check: data: x_train holds 1 values that are NaN"),
        ({"data": (X, Y[:-1])}, r"^rfprune\.check: data: y_train has 239 rows"),
        ({"data": DataFrame(X)}, r"^rfprune\.check: data: column 'label' is missing"),
        (
            {"data": {"frame": DataFrame(X).assign(y=Y), "target": "y", "features": ["z*"]}},
            r"data\.features: 'z\*' matches no column of data\.",
        ),
        ({"data": "none.npz"}, r"'none.npz' does not exist\. Looked for: (?!\S*given)"),
        ({"model": nn.Linear(5, 3)}, r"model 'Linear' does not take samples of shape \(6,\)"),
        ({"data": {"x_trian": X, "y_train": Y}}, r"Did you mean 'x_train'\?"),
    ],
)
def test_messages_name_what_was_handed_over(given: dict[str, Any], says: str, here: Path) -> None:
    values: dict[str, Any] = {"model": CellNet, "data": (X, Y), **SETTINGS, **given}
    with pytest.raises(InputError, match=says) as caught:
        rfprune.check(search=SEARCH, rehearse=False, **values)
    assert "given" not in str(caught.value)


def test_the_types_of_each_of_several_networks_are_shown(here: Path) -> None:
    wide = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))
    model = {"choices": [{"label": "cell", "name": CellNet}, {"label": "wide", "name": wide}]}
    found = rfprune.check(model=model, data=(X, Y), search=SEARCH, rehearse=False, **SETTINGS)
    shown = found.as_json()
    assert list(shown["model_types"]) == list(shown["models"]) == ["cell", "wide"]
    layers = {label: {row["name"] for row in rows} for label, rows in shown["models"].items()}
    for label, rows in shown["model_types"].items():
        assert {f"weights of {name}" for name in layers[label]} <= {row["place"] for row in rows}
    assert shown["types"] == shown["model_types"]["cell"]
