"""Networks as adder graphs: digits, the graph bit for bit, a trial with its ladder, its export."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfprune.errors import NetworkError, SpecError
from rfprune.exporting import Request, export, load
from rfprune.fpga.adders.chain import Chain, chain_of, fold_norms, without_bias
from rfprune.fpga.adders.digits import digit_counts, digit_levels
from rfprune.fpga.adders.graph import build_graph
from rfprune.fpga.adders.level import Level
from rfprune.fpga.adders.numbers import Circuit, CircuitNumbers, calibrate, constants, forward
from rfprune.fpga.adders.prunable import AdderPrunable
from rfprune.fpga.adders.straight import StraightThrough
from rfprune.fpga.estimating import estimate_folder
from rfprune.fpga.layers import trace
from rfprune.fpga.weight_values import rung_epochs
from rfprune.models import load_checkpoint
from rfprune.results import StepRecord, TrialFolder
from rfprune.spec import TrialSpec
from rfprune.spec.pruning import PruneSpec
from rfprune.spec.widths import WidthsSpec
from rfprune.tasks import make_task
from rfprune.tasks.spec import TaskSpec
from rfprune.trial import prepare, restore
from rfprune.trial.run import run_trial

pytest.importorskip("da4ml", reason="the package da4ml is not installed")


def fewest_digits(limit: int) -> dict[int, int]:
    """Return how many signed powers of two each integer needs at least, by widening sums."""
    powers = [sign * 2**k for k in range(9) for sign in (1, -1)]
    known, edge = {0: 0}, {0}
    while edge:
        edge = {n + p for n in edge for p in powers if abs(n + p) <= limit} - set(known)
        count = max(known.values()) + 1
        known |= dict.fromkeys(edge, count)
    return known


def test_canonical_digits_are_the_fewest() -> None:
    fewest = fewest_digits(200)
    numbers = np.arange(-200, 201)
    assert digit_counts(numbers / 16.0).tolist() == [fewest[n] for n in numbers.tolist()]


@settings(max_examples=60)
@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20), st.integers(1, 6))
def test_levels_have_no_more_digits_and_come_closer(values: list[float], most: int) -> None:
    weight = torch.tensor(values)
    levels = digit_levels(weight, most, 7)
    counts = digit_counts(levels.double().numpy())
    assert (counts <= np.arange(most + 1)[:, None]).all()
    errors = (levels - weight).abs()
    assert (errors[1:] <= errors[:-1] + 1e-7).all()
    assert (levels[-1] * 2**7 == torch.round(levels[-1] * 2**7)).all()
    # What is built is rounded once more when an export is checked, and must stay what it is.
    again = digit_levels(levels[-1], most, 7)[-1]
    assert torch.equal(again, levels[-1])


class Net(nn.Module):
    """Two hidden layers, one of them without a bias, and a flattened input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.1), nn.Linear(9, 5, bias=False)
        )
        self.head = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.body(x))
        return found


@pytest.mark.parametrize("seed", range(4))
def test_the_graph_is_the_network_bit_for_bit_also_where_it_wraps(seed: int) -> None:
    torch.manual_seed(seed)
    model = Net().eval()
    chain = chain_of(trace(model, (2, 3)))
    assert [layer.signed for layer in chain.layers] == [True, False, True, False]
    numbers = CircuitNumbers.widest(chain, 3, 7)
    x = torch.randn(400, 2, 3)
    for index, layer in enumerate(chain.layers):
        numbers.digits[index] = torch.randint(0, 4, (layer.n_out, layer.n_in))
        numbers.fraction[index] = torch.randint(-2, 7, (layer.n_in,))
    calibrate(chain, model, numbers, x[:100])
    numbers.integer[1][0] = -20  # an activation without any bits
    wide = torch.cat([x, 3 * x])  # beyond what was calibrated: wraps
    graph = build_graph(chain, model, numbers)
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        expected = Circuit(chain, exact, numbers)(wide.double()).numpy()
    assert np.array_equal(graph.predict(wide.flatten(1).double().numpy()), expected)


@pytest.mark.parametrize("most", [1, 3])
def test_no_value_of_so_many_digits_is_nearer(most: int) -> None:
    weight = torch.linspace(-1.3, 1.3, 517)
    grid = np.arange(-200, 201) / 16
    for digits, level in enumerate(digit_levels(weight, most, 4).double().numpy()):
        allowed = grid[digit_counts(grid) <= digits]
        least = np.abs(weight.double().numpy()[:, None] - allowed).min(axis=1)
        assert np.abs(level - weight.double().numpy()) == pytest.approx(least, abs=1e-7)


@pytest.mark.parametrize("unread", [False, True])
def test_a_pass_in_training_is_that_of_the_operations_one_by_one(unread: bool) -> None:
    torch.manual_seed(1)
    model = Net()
    chain = chain_of(trace(model, (2, 3)))
    numbers = CircuitNumbers.widest(chain, 3, 7)
    for index, layer in enumerate(chain.layers):
        numbers.digits[index] = torch.randint(0, 4, (layer.n_out, layer.n_in))
        numbers.fraction[index] = torch.randint(-2, 7, (layer.n_in,))
    if unread:
        numbers.digits[1][:, [0, 4]] = 0
        numbers.digits[3][:, 2] = 0
    straight = StraightThrough(chain, model, numbers)
    for rows in (50, 31):
        x, y = torch.randn(rows, 2, 3), torch.randint(0, 3, (rows,))
        found = []
        slow = partial(forward, chain, model, numbers, wraps=False)
        for way in (straight, slow):
            model.zero_grad()
            output = way(x)
            nn.functional.cross_entropy(output, y).backward()
            weights = [layer.of(model).weight for layer in chain.layers]
            found.append(
                [output.detach(), *(w.grad.clone() for w in weights if w.grad is not None)]
            )
        assert torch.equal(found[0][0], found[1][0])
        for index, digits in enumerate(numbers.digits):
            # What reads a neuron that nobody reads with a digit needs no gradient.
            held = digits > 0
            assert torch.allclose(found[0][index + 1][held], found[1][index + 1][held], atol=1e-7)


class Branches(nn.Module):
    """A trunk, a head of one layer and one of two."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU())
        self.label = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
        self.pt = nn.Linear(7, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.trunk(x)
        return {"label": self.label(h), "pt": self.pt(h)}


def branches() -> tuple[Branches, Chain, CircuitNumbers]:
    """Return a network of two heads with numbers at random, one neuron read by one head alone."""
    torch.manual_seed(3)
    model = Branches().eval()
    chain = chain_of(trace(model, (6,)))
    numbers = CircuitNumbers.widest(chain, 3, 7)
    for index, layer in enumerate(chain.layers):
        numbers.digits[index] = torch.randint(0, 4, (layer.n_out, layer.n_in))
        numbers.fraction[index] = torch.randint(-2, 7, (layer.n_in,))
    numbers.digits[2][:, 3] = 0
    numbers.digits[chain.readers(1)[1]][:, 3] = 2
    return model, chain, numbers


def test_heads_are_branches_of_one_graph() -> None:
    model, chain, numbers = branches()
    assert [layer.source for layer in chain.layers].count(1) == 2
    x = torch.randn(400, 6)
    calibrate(chain, model, numbers, x[:100])
    wide = torch.cat([x, 3 * x]).double()
    graph = build_graph(chain, model, numbers)
    with torch.no_grad():
        output = Circuit(chain, copy.deepcopy(model).double(), numbers)(wide)
    assert list(output) == ["label", "pt"]
    assert np.array_equal(graph.predict(wide.numpy()), chain.joined(output).numpy())


def test_a_pass_in_training_through_branches() -> None:
    model, chain, numbers = branches()
    x, y = torch.randn(50, 6), torch.randint(0, 3, (50,))
    found = []
    for way in (
        StraightThrough(chain, model, numbers),
        partial(forward, chain, model, numbers, wraps=False),
    ):
        model.zero_grad()
        output = way(x)
        loss = nn.functional.cross_entropy(output["label"], y) + output["pt"].square().mean()
        loss.backward()
        weights = [layer.of(model).weight.grad.clone() for layer in chain.layers]
        found.append([output["label"].detach(), output["pt"].detach(), *weights])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    for index, digits in enumerate(numbers.digits):
        ours, theirs = (each[index + 2][digits > 0] for each in found)
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def small(**changes: Any) -> TrialSpec:
    """Return a trial on a ladder of two rungs that runs in a few seconds."""
    values: dict[str, Any] = {
        "model": {"name": "mlp", "args": {"hidden": [12]}},
        "data": {"name": "digits", "train_rows": 600},
        "hardware": {"strategy": "distributed_arithmetic"},
        "train": {"epochs": 12, "batch_size": 128, "learning_rate": 1e-2, "device": "cpu"},
        "prune": {
            "method": "widths",
            "budget": {"lut": 500},
            "steps": 2,
            "epochs_per_step": 10,
            "tolerance": 0.4,
            "widths": {"reselect_every": 6, "early": 1.0},
        },
        "estimator": "adders",
    }
    for key, change in changes.items():
        values[key] = {**values.get(key, {}), **change} if isinstance(change, dict) else change
    return TrialSpec.model_validate(values)


def run(home: Path, spec: TrialSpec, **kwargs: Any) -> TrialFolder:
    folder = TrialFolder(home / "trials" / "0000")
    home.mkdir(parents=True, exist_ok=True)
    (home / "trial.json").write_text(json.dumps({"base_dir": str(home)}))
    run_trial(spec, folder, dense_dir=home / "dense", base_dir=home, **kwargs)
    return folder


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    torch.set_num_threads(1)
    return run(tmp_path_factory.mktemp("widths"), small())


def test_each_rung_is_a_point_that_holds_its_budget_about(trial: TrialFolder) -> None:
    steps = trial.steps()
    assert [record.accepted for record in steps] == [True, True, True]
    luts = [record.values["lut"] for record in steps]
    # The first rung corrects the model's costs, the second one is held by what was seen.
    assert luts[1] == pytest.approx(500 / 0.6, rel=0.35)
    assert luts[2] == pytest.approx(500, rel=0.2)
    assert steps[2].values["accuracy"] > 0.55
    assert steps[2].values["sparsity"] > 0.5
    assert steps[2].values["dsp"] == 0
    assert steps[2].prices["lut"] > 0


def test_early_steps_are_short_and_late_ones_whole() -> None:
    spec = PruneSpec(steps=8, epochs_per_step=40, widths=WidthsSpec(early=0.25))
    assert [rung_epochs(spec, step) for step in range(1, 8)] == [10, 18, 25, 32, 40, 40, 40]
    # One of one is whole at no early part alone.
    assert rung_epochs(PruneSpec(steps=1, epochs_per_step=3, widths=WidthsSpec(early=0.1)), 1) == 1
    assert rung_epochs(PruneSpec(steps=1, epochs_per_step=3, widths=WidthsSpec(early=1.0)), 1) == 3


def test_zeros_decay_and_others_stay(trial: TrialFolder) -> None:
    restored = restore(trial, 2)
    prunable = restored.prepared.deployment.prunable
    assert isinstance(prunable, AdderPrunable)
    data, spec = restored.prepared.data, WidthsSpec(decay=0.1, average=0)
    chain, model, numbers = prunable.chain, restored.model, prunable.numbers
    level = Level(chain, model, numbers, data, restored.prepared.task, spec, 600.0, 600.0, 0)
    level.before(0, 100)
    layer = chain.layers[0].of(model)
    before, zero = layer.weight.detach().clone(), numbers.digits[0] == 0
    assert 0 < zero.sum() < zero.numel()
    for update in range(5):
        level.after(update, 100)
    assert torch.allclose(layer.weight.detach(), torch.where(zero, 0.9**5 * before, before))


class Normed(nn.Module):
    """Batch norms on the input, before a ReLU and behind one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.BatchNorm1d(6), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU()),
            *(nn.BatchNorm1d(8), nn.Linear(8, 2)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(x)
        return found


def test_batch_norms_are_folded_into_the_layers_beside_them() -> None:
    torch.manual_seed(0)
    model = Normed()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 4.0)
    model.eval()
    chain = chain_of(trace(model, (6,)))
    x = torch.randn(50, 6)
    with torch.no_grad():
        before = model(x)
        fold_norms(chain, model)
        first, second = (layer.of(model) for layer in chain.layers)
        alone = second(torch.relu(first(x)))
        assert torch.allclose(alone, before, atol=1e-5)
        assert torch.allclose(model(x), before, atol=1e-4)


def test_a_batch_norm_beside_a_layer_without_bias_is_refused() -> None:
    model = nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)
    )
    assert without_bias(chain_of(trace(model, (3,))), model) == "_0"


def normed() -> nn.Module:
    """Return a network for the trial below, found by its name."""
    return nn.Sequential(
        nn.BatchNorm1d(10),
        nn.Linear(10, 12),
        nn.ReLU(),
        nn.Linear(12, 8),
        nn.ReLU(),
        nn.Linear(8, 1),
    )


def test_a_regression_with_a_batch_norm_from_training_to_its_circuit(tmp_path: Path) -> None:
    spec = small(
        model={"name": "tests.fpga.adders.test_adders:normed", "args": {}},
        data={"name": "diabetes", "train_rows": None},
        task={"name": "regression", "metrics": ["resolution", "rmse"]},
        prune={"budget": {"lut": 300}, "tolerance": 1.0},
    )
    folder = run(tmp_path, spec)
    last = folder.steps()[-1]
    assert last.accepted
    assert last.values["lut"] == pytest.approx(300, rel=0.3)
    assert last.gaps
    assert max(last.gaps) < 0.05
    export(Request(folder, last.step, tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["equal"] is True


def test_two_heads_from_training_to_their_circuit(tmp_path: Path) -> None:
    heads = {
        "label": {"name": "classification", "metrics": ["accuracy"]},
        "pt": {"name": "regression", "loss": "huber", "weight": 0.5, "metrics": ["resolution"]},
    }
    spec = small(
        data={"name": "two_heads", "train_rows": None},
        task={"heads": heads, "score": "label.accuracy"},
        prune={"budget": {"lut": 500}, "tolerance": 0.5},
    )
    folder = run(tmp_path, spec)
    last = folder.steps()[-1]
    assert last.accepted
    assert last.values["label_accuracy"] > 0.6
    assert last.values["lut"] == pytest.approx(500, rel=0.3)
    export(Request(folder, last.step, tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["equal"] is True
    vectors = np.load(tmp_path / "out" / "test_vectors.npz")
    assert vectors["torch"].shape[1] == 5


class Cut(Exception):
    """Stands for a kill in the middle of a ladder."""


@pytest.mark.parametrize("after", [0, 1])
def test_a_ladder_that_was_cut_off_goes_on_bit_for_bit(
    trial: TrialFolder, tmp_path: Path, after: int
) -> None:
    def cut(record: StepRecord) -> None:
        if record.step == after:
            raise Cut

    with pytest.raises(Cut):
        run(tmp_path, small(), on_step=cut)
    resumed = run(tmp_path, small())
    for ours, theirs in zip(resumed.steps(), trial.steps(), strict=True):
        assert ours.model_copy(update={"seconds": 0.0}) == theirs.model_copy(
            update={"seconds": 0.0}
        )
    a, b = (load_checkpoint(folder.checkpoint(2)) for folder in (resumed, trial))
    assert all(torch.equal(a.state_dict[name], b.state_dict[name]) for name in b.state_dict)
    assert all(torch.equal(a.extra["values"][n], b.extra["values"][n]) for n in b.extra["values"])


def test_an_export_holds_the_circuit_and_the_proof(trial: TrialFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = export(Request(trial, 2, out, rows=0))
    assert "bit for bit" in done.facts[0]
    assert json.loads((out / "parity.json").read_text())["equal"] is True
    assert "module network" in (out / "rtl" / "src" / "network.v").read_text()
    vectors = np.load(out / "test_vectors.npz")
    assert np.array_equal(vectors["torch"], vectors["graph"])
    weight = load(out).state_dict()
    counts = [digit_counts(v.double().numpy()) for n, v in weight.items() if "weight" in n]
    assert max(count.max() for count in counts) <= 4
    assert estimate_folder(out, "adders", None)[0].total.lut == trial.steps()[2].values["lut"]


def test_the_count_of_a_trial_again(trial: TrialFolder) -> None:
    known = trial.steps()[2].values["lut"]
    found, part = estimate_folder(trial.path, "adders", 2)
    assert found.total.lut == known
    assert part.name.startswith("xcvu13p")
    with pytest.raises(SpecError, match="estimator: 'analytic' does not know"):
        estimate_folder(trial.path, "analytic", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune": {"method": "widths", "budget": {"dsp": 0.3}}}, r"prune\.budget\.dsp: method"),
        ({"hardware": {"strategy": "resource"}}, r"hardware\.strategy: is resource, and prune\."),
        ({"prune": {"method": "knapsack", "budget": {"lut": 9}}}, r"has no multipliers"),
        ({"hardware": {"reuse_factor": 2}}, r"hardware\.reuse_factor: is 2"),
        ({"hardware": {"layers": {"fc0": {}}}}, r"hardware\.layers: method widths has no"),
        ({"estimator": "analytic"}, r"estimator: 'analytic' does not know graphs of adders"),
        ({"train": {"function": "a:b"}}, r"train\.function: method widths chooses while"),
    ],
)
def test_settings_that_do_not_go_together(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=message):
        prepare(small(**changes), tmp_path)


def test_a_network_that_is_no_chain_is_refused_by_its_first_other_operation() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))
    with pytest.raises(NetworkError, match="takes Linear layers with ReLUs"):
        chain_of(trace(model, (4,)))


#: Made by the first version of the method; a change of how it is computed must not change it.
GOLDEN: dict[str, Any] = {
    "digits": [
        [
            [0, 1, 1, 1, 1, 0],
            [0, 0, 0, 1, 1, 0],
            [0, 1, 0, 0, 1, 1],
            [2, 1, 1, 0, 1, 1],
            [0, 1, 2, 1, 1, 2],
        ],
        [[2, 1, 1, 1, 1], [1, 1, 1, 2, 2], [0, 0, 0, 1, 2]],
    ],
    "fraction": [[3, 1, 3, 2, 2, 2], [3, 2, 3, 3, 5]],
    "integer": [[2, 2, 2, 2, 2, 1], [1, 1, 1, 1, 1]],
    "weights": [
        [
            [0, -32, 16, 16, -32, 0],
            [0, 0, 0, 32, 32, 0],
            [0, -32, 0, 0, 16, -32],
            [48, -32, 32, 0, 32, 16],
            [0, 8, 40, 16, 32, -40],
        ],
        [[56, -16, -32, -16, -32], [32, -32, -32, 48, 56], [0, 0, 0, 32, -56]],
    ],
}


def test_choices_of_a_small_network_stay_what_they_are() -> None:
    """Of one level from seeded weights and rows: digits, widths and masks, as first measured."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    chain = chain_of(trace(model, (6,)))
    numbers = CircuitNumbers.widest(chain, 4, 7)
    x = torch.randn(64, 6)
    rows = SimpleNamespace(x_train=x, y_train=x[:, :3].argmax(1), x_val=x)
    spec = WidthsSpec(reselect_every=4)
    task = make_task(TaskSpec())
    level = Level(chain, model, numbers, rows, task, spec, 250.0, 700.0, 3)  # type: ignore[arg-type]
    for update in range(16):
        level.before(update, 20)
        level.after(update, 20)
    assert [part.tolist() for part in numbers.digits] == GOLDEN["digits"]
    assert [part.tolist() for part in numbers.fraction] == GOLDEN["fraction"]
    assert [part.tolist() for part in numbers.integer] == GOLDEN["integer"]
    weights = [weight for _, weight, _ in constants(chain, model, numbers)]
    assert [(weight * 2**7).astype(int).tolist() for weight in weights] == GOLDEN["weights"]
