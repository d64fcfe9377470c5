"""A trial for an edge device: every method in the same frame, cut off anywhere, and wrong input."""

from __future__ import annotations

import functools
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rfprune
from rfprune.edge.adaptive.adapting import base_of_export
from rfprune.edge.kernels import KernelMap, masked
from rfprune.edge.kernels import Masks as KernelMasks
from rfprune.edge.monitor import measure_inference
from rfprune.edge.prunable import KernelPrunable
from rfprune.errors import BudgetError, InputError, RunsError, SpecError
from rfprune.exporting import Request, export
from rfprune.methods.akperl import learner
from rfprune.models import load_checkpoint
from rfprune.results import StepRecord
from rfprune.spec import TrialSpec
from rfprune.training import evaluate
from rfprune.trial import Restored, prepare, restore
from tests.edge.conftest import run, small
from tests.edge.monitor.powercap import Powercap

METHODS = ("knapsack", "greedy", "hls4ml_greedy", "uniform", "random", "magnitude", "l1")


def kernels_of(restored: Restored) -> KernelMap:
    prunable = restored.prepared.deployment.prunable
    assert isinstance(prunable, KernelPrunable)
    return prunable.kernels


def without_times(records: list[StepRecord]) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.model_dump().items() if k != "seconds"} for r in records]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("resource", ["energy_mj", "macs", "kernels"])
def test_every_method_meets_every_budget(tmp_path: Path, method: str, resource: str) -> None:
    regularizer = {"weight": 1e-4}
    prune = {"method": method, "budget": {resource: 0.5}, "regularizer": regularizer}
    folder, result = run(tmp_path, small(prune=prune))
    dense, *_, last = folder.steps()
    assert (result.state, result.stopped) == ("complete", "budgets met")
    assert last.metrics()[resource] is not None
    assert last.metrics()[resource] <= 0.5 * dense.metrics()[resource] * (1 + 1e-9)
    kernels = last.values["kernels"]
    assert "dsp" not in last.values
    assert kernels == sum(last.live.values())
    assert last.values["kernel_sparsity"] == pytest.approx(1 - kernels / sum(last.groups.values()))
    assert dense.values["kernel_sparsity"] == dense.values["sparsity"] == 0


@pytest.mark.parametrize("said", [9, "9"])
def test_a_whole_number_of_kernels_is_met_to_the_last_one(
    tmp_path: Path, said: float | str
) -> None:
    folder, result = run(tmp_path, small(prune={"method": "knapsack", "budget": {"kernels": said}}))
    assert result.budgets_met
    assert folder.steps()[-1].values["kernels"] == 9


def test_the_knapsack_keeps_more_value_than_greedy_or_random(tmp_path: Path) -> None:
    kept = {}
    for method in ("knapsack", "greedy", "random"):
        spec = small(prune={"method": method, "schedule": "binary", "steps": 1})
        folder, _ = run(tmp_path / method, spec)
        masks, dense = restore(folder, 1).masks, restore(folder, 0)
        rank = kernels_of(dense).rank(dense.model, "l2")
        kept[method] = sum(float(rank[name][mask.bool()].sum()) for name, mask in masks.items())
    assert kept["knapsack"] >= kept["greedy"] * (1 - 1e-9)
    assert kept["knapsack"] > kept["random"]


class Cut(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("after", "prune"),
    [
        (0, {}),
        (1, {"method": "knapsack", "regularizer": {"weight": 1e-4}, "regrow_epochs": 1}),
        (1, {"score": "taylor", "method": "greedy"}),
        (1, {"method": "random", "tolerance": 0.02, "patience": 3, "steps": 4}),
    ],
)
def test_a_cut_off_trial_ends_bit_for_bit_like_an_uncut_one(
    tmp_path: Path, after: int, prune: dict[str, Any]
) -> None:
    spec = small(prune=prune)
    whole, _ = run(tmp_path / "whole", spec)
    assert len(whole.steps()) > after

    def cut(record: StepRecord) -> None:
        if record.step == after:
            raise Cut

    with pytest.raises(Cut):
        run(tmp_path / "cut", spec, on_step=cut)
    resumed, result = run(tmp_path / "cut", spec)
    assert without_times(resumed.steps()) == without_times(whole.steps())
    assert result.final_step is not None
    ours, theirs = (
        load_checkpoint(f.checkpoint(result.final_step)).state_dict for f in (resumed, whole)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("cut_at", [4, 8])
def test_an_agent_cut_off_while_it_learned_ends_bit_for_bit_like_an_uncut_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    agent = {"episodes": 12, "warmup_episodes": 3, "gradient_steps": 1, "checkpoint_every": 4}
    agent |= {"shortlist": 2, "shortlist_epochs": 1}
    edge = {"agent_rows": 60, "agent_measure": "probability", "conditions": {"dark": 0.5}}
    spec = small(prune={"method": "akperl", "agent": agent}, edge=edge)
    whole, _ = run(tmp_path / "whole", spec)
    write = learner.write_values

    def write_and_die(path: Path, kind: str, values: dict[str, Any]) -> None:
        write(path, kind, values)
        if path.parent.name == "002" and values["episodes"] == cut_at:
            raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(learner, "write_values", write_and_die)
        with pytest.raises(Cut):
            run(tmp_path / "cut", spec)
    resumed, _ = run(tmp_path / "cut", spec)
    assert without_times(resumed.steps()) == without_times(whole.steps())
    ours, theirs = (load_checkpoint(f.checkpoint(2)).state_dict for f in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    episodes = [(f.path / "agent/002/episodes.jsonl").read_text() for f in (resumed, whole)]
    assert episodes[0] == episodes[1]


def test_a_restored_step_has_the_accuracy_of_its_record(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, small())
    for record in folder.steps():
        restored = restore(folder, record.step)
        data, masks = restored.prepared.data, KernelMasks(kernels_of(restored), restored.masks)
        with masked(restored.model, masks):
            found = evaluate(restored.model, data.x_val, data.y_val)
        assert found == record.values["val_accuracy"]
        assert dict(zip(masks, masks.kept.tolist(), strict=True)) == record.live


def test_the_agent_prunes_within_the_budget_and_leaves_its_policies(tmp_path: Path) -> None:
    folder, result = run(tmp_path, small(prune={"method": "akperl"}))
    dense, *_, last = folder.steps()
    assert result.stopped == "budgets met"
    assert last.values["energy_mj"] <= 0.5 * dense.values["energy_mj"]
    for step in (1, 2):
        assert (folder.path / "agent" / f"{step:03d}" / "policy.pt").exists()
    exported = export(Request(folder, 2, tmp_path / "out"))
    assert (exported.out / "policy.pt").exists()


def test_an_agent_on_a_shared_network_leaves_a_policy_that_answers_other_budgets(
    tmp_path: Path,
) -> None:
    edge = {"agent_rows": 60, "agent_network": "shared", "shared_epochs": 1, "settling_rows": 60}
    learned = small(
        edge={**edge, "agent_budgets": [0.7, 0.35]}, prune={"method": "akperl", "steps": 1}
    )
    folder, _ = run(tmp_path, learned)
    policy = folder.path / "agent" / "001" / "policy.pt"
    home = tmp_path / "asked"
    home.mkdir()
    shutil.copy(policy, home / "policy.pt")
    asked = small(
        edge={**edge, "agent_policy": "policy.pt"},
        prune={"method": "akperl", "steps": 1, "budget": {"energy_mj": 0.45}},
    )
    answer, _ = run(home, asked)
    dense, last = answer.steps()
    assert last.values["energy_mj"] <= 0.45 * dense.values["energy_mj"]
    # Nothing was learned: there is no checkpoint of an agent.
    assert not (answer.path / "agent" / "001").exists()


def test_a_policy_that_is_not_there_is_told_before_the_training(tmp_path: Path) -> None:
    spec = small(edge={"agent_policy": "none.pt"}, prune={"method": "akperl"})
    with pytest.raises(SpecError, match=r"edge.agent_policy: no file 'none.pt'"):
        run(tmp_path, spec)
    with pytest.raises(ValueError, match="agent_network: shared needs settling_rows"):
        small(edge={"agent_network": "shared", "settling_rows": 0})


@pytest.mark.parametrize(
    "reward", [{"alpha": 1.0, "beta": 0.1}, {"target": {"power": "<= 0.5"}}], ids=str
)
def test_a_reward_of_its_own_is_one_step_without_a_budget(
    tmp_path: Path, reward: dict[str, Any]
) -> None:
    agent = {"episodes": 12, "warmup_episodes": 3, "gradient_steps": 1, "reward": reward}
    folder, _ = run(tmp_path, small(prune={"method": "akperl", "agent": agent, "steps": 5}))
    assert [record.fraction for record in folder.steps()] == [{}, {}]


def test_a_damaged_checkpoint_of_the_agent_is_one_sentence(tmp_path: Path) -> None:
    spec = small(prune={"method": "akperl"})
    agent = tmp_path / "trials" / "0000" / "agent" / "001"
    agent.mkdir(parents=True)
    (agent / "agent.pt").write_bytes(b"no checkpoint")
    with pytest.raises(RunsError, match=r"agent.pt: is damaged") as caught:
        run(tmp_path, spec)
    assert "\n" not in str(caught.value)


def test_an_export_is_smaller_and_computes_the_same(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, small())
    exported = export(Request(folder, 2, tmp_path / "out", why="for the test"))
    loaded = rfprune.load(exported.out)
    restored = restore(folder, 2)
    model, data = restored.model, restored.prepared.data
    # What is loaded takes raw rows.
    raw = data.scaling.raw(data.x_test)
    with masked(model, KernelMasks(kernels_of(restored), restored.masks)), torch.no_grad():
        assert torch.allclose(loaded(raw), model(data.x_test), atol=1e-4)
    parameters = sum(p.numel() for p in loaded.parameters())
    assert parameters == exported.record.values["parameters"]
    names = {path.name for path in exported.out.iterdir()}
    assert {"model.pt", "model.onnx", "report.html", "SHA256SUMS", "spec.json"} <= names
    assert not names & {"hls", "build.sh", "policy.pt"}


def test_measured_time_is_marked_as_such(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, small(edge={"time": "measured", "batch_size": 8}))
    text = folder.estimate(1).read_text()
    assert '"measured"' in text
    assert all(record.values["inference_ms"] > 0 for record in folder.steps())


class Powered(threading.Thread):
    """Counts up the energy of a package that draws a steady power, as Linux would."""

    def __init__(self, powercap: Powercap, watts: float) -> None:
        super().__init__(daemon=True)
        self.powercap, self.watts, self.ended = powercap, watts, threading.Event()

    def run(self) -> None:
        begun = time.perf_counter()
        while not self.ended.wait(0.001):
            joule = self.watts * (time.perf_counter() - begun)
            self.powercap.count("intel-rapl:0", 1_000_000 + int(joule * 1e6))


def test_a_trial_measures_energy_with_a_counter(tmp_path: Path, monkeypatch) -> None:
    """A package of 20 W: the energy of an image is 20 W times its time, and all of it is idle."""
    short = functools.partial(measure_inference, run_seconds=0.15)
    monkeypatch.setattr("rfprune.edge.target.measure_inference", short)
    power = Powered(Powercap(tmp_path / "powercap"), 20.0)
    power.start()
    meter = {"powercap": str(tmp_path / "powercap")}
    changes = {"time": "measured", "batch_size": 8, "meter": meter}
    folder, _ = run(tmp_path, small(edge=changes, prune={"steps": 1}))
    power.ended.set()
    for record in folder.steps():
        readings = json.loads(folder.estimate(record.step).read_text())["readings"]
        assert {reading["kind"] for reading in readings.values()} == {"measured"}
        assert readings["energy"]["source"].startswith("RAPL (package-0")
        assert record.values["power_mw"] == pytest.approx(20_000, rel=0.1)
        assert readings["idle_share"]["value"] == pytest.approx(1.0, abs=0.1)
    plain = json.loads((folder.path / "spec.json").read_text())
    assert plain["edge"]["meter"]["powercap"] == meter["powercap"]


def test_a_meter_that_is_missing_is_told_before_the_training(tmp_path: Path) -> None:
    meter = {"file": str(tmp_path / "watts")}
    with pytest.raises(SpecError, match="watts cannot be read"):
        run(tmp_path, small(edge={"time": "measured", "meter": meter}))
    assert not (tmp_path / "dense").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"edge": {"layers": ["nothing*"]}}, "layers: 'nothing\\*' names no convolution"),
        ({"edge": {"device": "raspbery_pi_4"}}, "edge.device: .* Did you mean 'raspberry_pi_4'"),
        ({"edge": {"device": "fpga"}}, "device 'fpga'"),
        ({"edge": {"device": "none.yml"}}, "none.yml: no such file"),
        ({"prune": {"method": "knapsck"}}, "prune.method: .* Did you mean 'knapsack'"),
        ({"prune": {"layers": {"stm": {}}}}, "prune.layers: no layer 'stm'. Did you mean 'stem'"),
        ({"prune": {"layers": {"stem": {"structure": "dsp"}}}}, "is not for an edge device"),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        prepare(small(**changes), tmp_path)
    assert "\n" not in str(caught.value)


def test_coefficients_of_a_wrong_length_are_refused_before_training(tmp_path: Path) -> None:
    agent = {"episodes": 5, "reward": {"alpha": [1.0, 2.0]}}
    spec = small(prune={"method": "akperl", "agent": agent})
    with pytest.raises(InputError, match=r"reward.alpha: has 2 values for 3 layers"):
        prepare(spec, tmp_path)


def test_a_profile_with_a_missing_value_names_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("static_mw: 100\n")
    with pytest.raises(InputError, match=r"mine.yml: the key '\w+' is missing"):
        prepare(small(edge={"device": "mine.yml"}), tmp_path)


def test_a_budget_below_the_floors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"prune.budget.macs: .* cannot be reached"):
        prepare(small(prune={"budget": {"macs": 1e-3}}), tmp_path)


def test_a_budget_below_the_highest_levels_is_refused(tmp_path: Path) -> None:
    prune = {"method": "akperl", "budget": {"energy_mj": 0.1}}
    with pytest.raises(BudgetError, match=r"prune.budget.energy_mj: .* floors or levels leave"):
        prepare(small(prune=prune, edge={"levels": [0.0, 0.25]}), tmp_path)


def test_a_layer_that_is_left_out_keeps_its_kernels(tmp_path: Path) -> None:
    prune = {"layers": {"stem": {"prune": False}}, "method": "uniform"}
    folder, result = run(tmp_path, small(prune=prune))
    assert "stem" not in folder.steps()[-1].live
    assert any("stem: not pruned" in note for note in result.notes)


def test_hidden_neurons_are_pruned_where_there_are_no_convolutions(tmp_path: Path) -> None:
    model = {"name": "mlp", "args": {"hidden": [16, 12]}}
    data = {"name": "digits", "train_rows": 300}
    folder, _ = run(tmp_path, small(model=model, data=data, prune={"budget": {"kernels": 0.5}}))
    last = folder.steps()[-1]
    assert last.groups == {"fc1": 16, "fc2": 12}
    assert sum(last.live.values()) <= 14
    assert last.values["macs"] == sum(
        a * b for a, b in zip((64, *last.live.values()), (*last.live.values(), 10), strict=True)
    )


def test_levels_are_made_of_an_export_whose_scaling_is_folded_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    x = rng.integers(0, 200, (300, 1, 8, 8)) + 50 * y[:, None, None, None]
    # Whole numbers of 8 bits are pixels, which a network gets as fractions.
    x = x.astype(np.uint8)
    arrays = {"x_train": x[:220], "y_train": y[:220], "x_test": x[220:], "y_test": y[220:]}
    np.savez(tmp_path / "images.npz", **arrays)
    spec = small().model_dump(mode="json", exclude={"hardware", "estimator"})
    spec["data"] = {"file": str(tmp_path / "images.npz")}
    folder, _ = run(tmp_path, TrialSpec.model_validate(spec))
    plain = export(Request(folder, 2, tmp_path / "plain")).out
    folded = export(Request(folder, 2, tmp_path / "folded", fold_scaling=True)).out
    assert json.loads((folded / "scaling.json").read_text())["folded_into"] == ["stem"]
    expected, found = base_of_export(plain), base_of_export(folded)
    rows = expected.data.x_test
    assert torch.equal(found.data.x_test, rows)
    assert rows.max() <= 1
    with torch.no_grad():
        torch.testing.assert_close(found.network(rows), expected.network(rows))
