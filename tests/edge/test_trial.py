"""A trial for an edge device: every method in the same frame, cut off anywhere, and wrong input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import rfprune
from rfprune.errors import BudgetError, InputError, RunsError
from rfprune.export import Request, export_edge
from rfprune.kernels import masked
from rfprune.models import load_checkpoint
from rfprune.runs import StepRecord
from rfprune.training import evaluate
from rfprune.trial import prepare, prepare_edge, restore_edge
from tests.edge.conftest import run, small

METHODS = ("knapsack", "greedy", "hls4ml_greedy", "uniform", "random", "magnitude", "l1")


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
    assert last.dsp is None
    assert last.kernels == sum(last.live.values())
    assert last.kernel_sparsity == pytest.approx(1 - last.kernels / sum(last.groups.values()))
    assert dense.kernel_sparsity == dense.sparsity == 0


def test_the_knapsack_keeps_more_value_than_greedy_or_random(tmp_path: Path) -> None:
    kept = {}
    for method in ("knapsack", "greedy", "random"):
        spec = small(prune={"method": method, "schedule": "binary", "steps": 1})
        folder, _ = run(tmp_path / method, spec)
        prepared, _, masks = restore_edge(folder, 1)
        _, dense, _ = restore_edge(folder, 0)
        rank = prepared.costs.kernels.rank(dense, "l2")
        kept[method] = sum(float(rank[name][mask].sum()) for name, mask in masks.items())
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
    learner = pytest.importorskip("rfprune.agent.learner", reason="the extra 'edge' is missing")
    agent = {"episodes": 12, "warmup_episodes": 3, "gradient_steps": 1, "checkpoint_every": 4}
    agent |= {"shortlist": 2, "shortlist_epochs": 1}
    edge = {"agent_rows": 60, "agent_measure": "probability", "conditions": {"dark": 0.5}}
    spec = small(prune={"method": "akperl", "agent": agent}, edge=edge)
    whole, _ = run(tmp_path / "whole", spec)
    save = learner.save_checkpoint

    def save_and_die(path: Path, agent: Any, values: dict[str, Any]) -> None:
        save(path, agent, values)
        if path.parent.name == "002" and values["episodes"] == cut_at:
            raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(learner, "save_checkpoint", save_and_die)
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
        prepared, model, masks = restore_edge(folder, record.step)
        with masked(model, masks):
            found = evaluate(model, prepared.data.x_val, prepared.data.y_val)
        assert found == record.val_accuracy
        assert dict(zip(masks, masks.kept.tolist(), strict=True)) == record.live


def test_the_agent_prunes_within_the_budget_and_leaves_its_policies(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    folder, result = run(tmp_path, small(prune={"method": "akperl"}))
    dense, *_, last = folder.steps()
    assert result.stopped == "budgets met"
    assert last.energy_mj is not None
    assert dense.energy_mj is not None
    assert last.energy_mj <= 0.5 * dense.energy_mj
    for step in (1, 2):
        assert (folder.path / "agent" / f"{step:03d}" / "policy.pt").exists()
    exported = export_edge(Request(folder, 2, tmp_path / "out"))
    assert (exported.out / "policy.pt").exists()


@pytest.mark.parametrize(
    "reward", [{"alpha": 1.0, "beta": 0.1}, {"target": {"power": "<= 0.5"}}], ids=str
)
def test_a_reward_of_its_own_is_one_step_without_a_budget(
    tmp_path: Path, reward: dict[str, Any]
) -> None:
    pytest.importorskip("stable_baselines3")
    agent = {"episodes": 12, "warmup_episodes": 3, "gradient_steps": 1, "reward": reward}
    folder, _ = run(tmp_path, small(prune={"method": "akperl", "agent": agent, "steps": 5}))
    assert [record.fraction for record in folder.steps()] == [{}, {}]


def test_a_damaged_checkpoint_of_the_agent_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    spec = small(prune={"method": "akperl"})
    agent = tmp_path / "trials" / "0000" / "agent" / "001"
    agent.mkdir(parents=True)
    (agent / "agent.pt").write_bytes(b"no checkpoint")
    with pytest.raises(RunsError, match=r"agent.pt: is damaged") as caught:
        run(tmp_path, spec)
    assert "\n" not in str(caught.value)


def test_an_export_is_smaller_and_computes_the_same(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, small())
    exported = export_edge(Request(folder, 2, tmp_path / "out", why="for the test"))
    loaded = rfprune.load(exported.out)
    prepared, model, masks = restore_edge(folder, 2)
    x = prepared.data.x_test
    with masked(model, masks), torch.no_grad():
        assert torch.allclose(loaded(x), model(x), atol=1e-4)
    parameters = sum(p.numel() for p in loaded.parameters())
    assert parameters == exported.record.parameters
    names = {path.name for path in exported.out.iterdir()}
    assert {"model.pt", "model.onnx", "report.html", "SHA256SUMS", "spec.json"} <= names
    assert not names & {"hls", "build.sh", "policy.pt"}


def test_measured_time_is_marked_as_such(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, small(edge={"time": "measured", "batch_size": 8}))
    text = folder.estimate(1).read_text()
    assert '"measured"' in text
    assert all((record.inference_ms or 0) > 0 for record in folder.steps())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model": {"name": "mlp", "args": {}}, "data": {"name": "digits", "train_rows": 300}},
            "no convolution",
        ),
        ({"edge": {"layers": ["nothing*"]}}, "layers: 'nothing\\*' names no convolution"),
        ({"edge": {"device": "raspbery_pi_4"}}, "edge.device: .* Did you mean 'raspberry_pi_4'"),
        ({"edge": {"device": "fpga"}}, "device 'fpga'"),
        ({"edge": {"device": "none.yml"}}, "none.yml: no such file"),
        ({"prune": {"score": "fisher"}}, "prune.score: 'fisher' is not known for kernels"),
        ({"prune": {"method": "knapsck"}}, "prune.method: .* Did you mean 'knapsack'"),
        ({"prune": {"layers": {"stm": {}}}}, "prune.layers: no layer 'stm'. Did you mean 'stem'"),
        ({"prune": {"layers": {"stem": {"structure": "dsp"}}}}, "is for an FPGA"),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        prepare_edge(small(**changes), tmp_path)
    assert "\n" not in str(caught.value)


def test_coefficients_of_a_wrong_length_are_refused_before_training(tmp_path: Path) -> None:
    agent = {"episodes": 5, "reward": {"alpha": [1.0, 2.0]}}
    spec = small(prune={"method": "akperl", "agent": agent})
    with pytest.raises(InputError, match=r"reward.alpha: has 2 values for 3 layers"):
        prepare_edge(spec, tmp_path)


def test_a_profile_with_a_missing_value_names_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("static_mw: 100\n")
    with pytest.raises(InputError, match=r"mine.yml: the key '\w+' is missing"):
        prepare_edge(small(edge={"device": "mine.yml"}), tmp_path)


def test_a_budget_below_the_floors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"prune.budget.macs: .* cannot be reached"):
        prepare_edge(small(prune={"budget": {"macs": 1e-3}}), tmp_path)


def test_a_budget_below_the_highest_levels_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    prune = {"method": "akperl", "budget": {"energy_mj": 0.1}}
    with pytest.raises(BudgetError, match=r"prune.budget.energy_mj: .* floors or levels leave"):
        prepare_edge(small(prune=prune, edge={"levels": [0.0, 0.25]}), tmp_path)


def test_a_layer_that_is_left_out_keeps_its_kernels(tmp_path: Path) -> None:
    prune = {"layers": {"stem": {"prune": False}}, "method": "uniform"}
    folder, result = run(tmp_path, small(prune=prune))
    assert "stem" not in folder.steps()[-1].live
    assert any("stem: not pruned" in note for note in result.notes)


def test_the_check_for_fpgas_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for an edge device"):
        prepare(small(), tmp_path)
