"""Planned networks in values: costs, types, Fisher matrices, trials with their exports."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.errors import SpecError
from rfprune.exporting import Request, export
from rfprune.fpga.estimating import estimate_folder
from rfprune.fpga.estimators import estimate
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.layers import Plan, fold_batch_norm, plan, trace
from rfprune.fpga.values.costs import kinds_of_values, value_costs
from rfprune.fpga.values.fisher import seen_by_layers, weight_fisher
from rfprune.fpga.values.numbers import ValueNumbers, finals, folded_weights, training_graph
from rfprune.fpga.values.places import typed_sites
from rfprune.fpga.values.readers import pairs_of, unread_outputs
from rfprune.models import load_checkpoint
from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.spec.hardware import HardwareSpec
from rfprune.trial import prepare
from tests.fpga.adders.test_adders import run, small

LATENCY = HardwareSpec(strategy="latency")


class Cnn(nn.Module):
    """Two convolutions, a batch norm behind one without a bias, pooling, a Linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Unflatten(1, (1, 8, 8))
        self.conv1 = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 3, 3)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(3, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.conv1(self.image(x)))))
        found: torch.Tensor = self.fc(torch.relu(self.conv2(x)).flatten(1))
        return found


def cnn() -> nn.Module:
    """Return a network for the trials below, found by its name."""
    return Cnn()


def chosen(seed: int = 0) -> tuple[nn.Module, Any, Any, ValueNumbers]:
    """Return a CNN with numbers at random: model, plan of the file, places, numbers."""
    torch.manual_seed(seed)
    model = Cnn()
    with torch.no_grad():
        nn.init.uniform_(model.norm.weight, 0.5, 2.0)
        nn.init.normal_(model.norm.bias)
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.1, 4.0)
    model.eval()
    file = plan(trace(model, (64,)), LATENCY)
    typed = typed_sites(file.network, LATENCY, True)
    numbers = ValueNumbers.widest(file, typed, 4, 7)
    numbers.digits = [torch.randint(0, 5, part.shape) for part in numbers.digits]
    numbers.fraction, numbers.integer = torch.tensor([4, 5, 3]), torch.tensor([2, 4, 4])
    numbers.reached[:] = 1.0
    weights = folded_weights(model, file)
    numbers.fit_weights([numbers.value(i, w).detach() for i, w in enumerate(weights)])
    return model, file, typed, numbers


def test_each_place_is_what_one_key_of_a_file_decides() -> None:
    _, file, typed, numbers = chosen()
    assert [site.layer for site in typed.sites] == [None, "conv1", "conv2"]
    assert typed.read == (0, 1, 2)
    # The ReLUs at all positions.
    assert [site.activations for site in typed.sites] == [0, 4 * 6 * 6, 3]
    planned = numbers.planned(file, typed, room=False)
    assert [str(layer.data) for layer in planned.layers] == [
        *("fixed<7,3>", "fixed<10,5>", "fixed<8,5>"),
    ]
    # What nobody chooses stays what the file says.
    assert str(planned.layers[2].result) == "fixed<16,6>"
    fixed = typed_sites(file.network, LATENCY, False)
    assert fixed.sites == ()
    assert fixed.read == (-1, -1, -1)


def test_what_is_built_is_what_was_trained_bit_for_bit() -> None:
    model, file, typed, numbers = chosen()
    x = torch.rand(30, 64)
    with torch.no_grad():
        trained = training_graph(model, numbers, file, typed)(x).double()
        built = deployed(finals(model, numbers, file), numbers.planned(file, typed, room=False))
        assert torch.equal(built(x).double(), trained)


def test_constants_survive_the_batch_norm_behind_them() -> None:
    model, file, _, numbers = chosen(1)
    final = finals(model, numbers, file)
    values = [numbers.value(i, w) for i, w in enumerate(folded_weights(model, file))]
    for layer, value, held in zip(file.layers, values, folded_weights(final, file), strict=True):
        grid = torch.round(held * 2**7) / 2**7
        assert torch.equal(grid, value)
        assert torch.equal(layer.layer.weight_of(final) == 0, value == 0)
    # Once more changes nothing.
    again = finals(final, numbers, file)
    for layer in file.layers:
        assert torch.allclose(
            layer.layer.weight_of(again), layer.layer.weight_of(final), rtol=1e-6, atol=0
        )


def test_numbers_survive_a_checkpoint() -> None:
    _, file, typed, numbers = chosen(2)
    numbers.scale[:] = [1.0, 1.0, 0.7, 1.0]
    other = ValueNumbers.widest(file, typed, 4, 7)
    assert not other.chosen
    other.take(numbers.saved())
    assert other.chosen
    for name, part in numbers.saved().items():
        assert torch.equal(part, other.saved()[name])


@pytest.mark.parametrize("kind", ["conv2d", "conv1d", "pointwise", "depthwise", "same"])
def test_fisher_matrices_are_those_of_single_rows(kind: str) -> None:
    torch.manual_seed(0)
    image: nn.Module = nn.Unflatten(1, (2, 4, 4))
    layer: nn.Module = nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=1)
    if kind == "conv1d":
        image, layer = nn.Unflatten(1, (4, 8)), nn.Conv1d(4, 3, 3, padding=1)
    elif kind == "pointwise":
        image, layer = nn.Unflatten(1, (8, 4)), nn.Linear(4, 3)
    elif kind == "depthwise":
        layer = nn.Conv2d(2, 2, 3, groups=2, bias=False)
    elif kind == "same":
        layer = nn.Conv2d(2, 3, (3, 1), padding="same", bias=False)
    model = nn.Sequential(image, layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    x = torch.randn(12, 32)
    model(x)
    file = plan(trace(model, (32,)), LATENCY)
    typed = typed_sites(file.network, LATENCY, True)
    numbers = ValueNumbers.widest(file, typed, 6, 10)
    graph = training_graph(model, numbers, file, typed)
    with seen_by_layers(graph, file.layers) as (inputs, outputs):
        loss = graph(x).pow(2).sum()
    (d,) = torch.autograd.grad(loss, [outputs[0]])
    found = weight_fisher(file.layers[0], layer, inputs[0].detach(), d)
    weights, biases = [], []
    for row in x:
        model.zero_grad()
        graph(row[None]).pow(2).sum().backward()
        weights.append(layer.weight.grad.double().clone())
        biases.append(torch.zeros(1) if layer.bias is None else layer.bias.grad.double().clone())
    g, b = torch.stack(weights), torch.stack(biases)
    b = b.reshape(*b.shape, *[1] * (g.dim() - 2))
    # A neuron's bias makes up for what its weights add on the average.
    exact = (g**2).mean(0) - (g * b).mean(0) ** 2 / (b**2).mean(0).clamp_min(1e-30)
    assert np.allclose(found, exact.numpy(), rtol=1e-3, atol=1e-5 * float(exact.max()))


def synthesised(model: nn.Module, file: Plan, value: float) -> tuple[float, float]:
    """Return DSPs and LUTs of a network whose first weight has a value."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.get_parameter("0.weight")[0, 0] = value
    found = estimate(design_of(file, fold_batch_norm(changed, file.network))).synthesis
    assert found is not None
    return float(found.dsp or 0), float(found.lut or 0)


@pytest.mark.parametrize("bits", [8, 10, 11, 16])
def test_single_weights_cost_what_the_estimator_says(bits: int) -> None:
    """One weight more in a layer, of each kind, on data of each width."""
    own = {"precision": f"fixed<{bits},4>", "weight_precision": "fixed<12,5>"}
    layers = {"_0": own, "_2": own}
    spec = {"strategy": "latency", "precision": own["precision"], "layers": layers}
    model = nn.Sequential(nn.Linear(16, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for part in model.parameters():
            part.fill_(0.0)
        model.get_parameter("0.weight")[:, 1:4] = 1.0
        model.get_parameter("2.weight").fill_(1.0)
    file = plan(trace(model, (16,)), HardwareSpec.model_validate(spec))
    cost = value_costs(file.layers[0], [bits], 4)[0]
    zero = synthesised(model, file, 0.0)
    for value in (0.5, 0.625, 11 / 128, 0.7265625, 6.0390625):
        (kind,) = kinds_of_values(np.array([value]), "latency", 7)
        one = synthesised(model, file, value)
        assert one[0] - zero[0] == cost[kind, 0]
        assert one[1] - zero[1] == pytest.approx(cost[kind, 2], abs=2.0)


def test_positions_that_are_unrolled_cost_their_adders_each() -> None:
    model = Cnn()
    unrolled = HardwareSpec(strategy="distributed_arithmetic", backend="alkaid")
    first = plan(trace(model, (64,)), unrolled).layers[0]
    cost = value_costs(first, [6], 4)[0]
    assert cost[:, 2].tolist() == [36 * digits * 7 for digits in range(5)]
    assert not cost[:, [0, 1, 3]].any()
    # On a stream the same kernel is used at every position.
    streamed = plan(trace(model, (64,)), LATENCY).layers[0]
    assert value_costs(streamed, [6], 4)[0][1, 2] < 30


def test_an_output_is_unread_where_all_that_read_it_are_zero() -> None:
    _, file, _, numbers = chosen()
    pairs = pairs_of(file.network)
    assert [(pair.writer, pair.readers) for pair in pairs] == [(0, (1,)), (1, (2,))]
    numbers.digits[1][:] = 1
    numbers.digits[1][:, 2] = 0
    numbers.digits[2][:] = 1
    found = dict(unread_outputs(pairs, numbers.digits))
    assert found[0].tolist() == [False, False, True, False]
    assert not found[1].any()


CNN: dict[str, Any] = {"model": {"name": "tests.fpga.values.test_values:cnn", "args": {}}}
SHORT = {"steps": 2, "epochs_per_step": 6}


def proven(folder: TrialFolder, out: Path) -> list[tuple[str, str]]:
    """Export the last step, and return which paths are equal to which."""
    last = [record.step for record in folder.steps() if record.accepted][-1]
    export(Request(folder, last, out))
    certificate = json.loads((out / "certificate.json").read_text())
    assert all(each["equal"] for each in certificate["compared"])
    return [(each["a"], each["b"]) for each in certificate["compared"]]


@pytest.mark.slow
def test_both_budgets_are_held_and_the_cpp_is_torch(tmp_path: Path) -> None:
    spec = small(
        hardware={"strategy": "latency"},
        prune={**SHORT, "budget": {"lut": 2000, "dsp": 10}, "tolerance": 1.0},
        estimator="analytic",
    )
    folder = run(tmp_path, spec)
    steps = folder.steps()
    for record, lut in zip(steps[1:], (2000 / 0.6, 2000), strict=True):
        # What is trained after the last choice may move a few.
        assert 0.7 * lut < record.values["lut"] < 1.03 * lut
        assert record.values["dsp"] <= 10 / 0.6 + 3
        assert np.median(record.gaps) < 0.1
    assert steps[2].values["val_accuracy"] > 0.4
    assert steps[2].prices["lut"] > 0
    equal = proven(folder, tmp_path / "out")
    assert ("graph", "cpp") in equal
    # Types and values are in the folder, whoever counts it again.
    for place in (folder.path, tmp_path / "out"):
        found, _ = estimate_folder(place, "analytic", None)
        assert found.total.lut == steps[2].values["lut"]


@pytest.mark.long
@pytest.mark.slow
def test_a_cnn_as_one_graph_of_adders_from_training_to_rtl(tmp_path: Path) -> None:
    spec = small(
        **CNN,
        hardware={"strategy": "distributed_arithmetic", "backend": "alkaid"},
        prune={**SHORT, "budget": {"lut": 2500}, "tolerance": 1.0},
    )
    folder = run(tmp_path, spec)
    steps = folder.steps()
    assert steps[2].values["lut"] == pytest.approx(2500, rel=0.3)
    assert steps[2].values["lut"] < steps[1].values["lut"]
    assert ("torch", "graph") in proven(folder, tmp_path / "out")


@pytest.mark.slow
def test_a_cnn_on_a_stream_is_the_cpp_of_hls4ml(tmp_path: Path) -> None:
    spec = small(
        **CNN,
        hardware={"strategy": "latency", "io_type": "io_stream"},
        prune={**SHORT, "budget": {"lut": 3000, "dsp": 20}, "tolerance": 1.0},
        estimator="analytic",
    )
    folder = run(tmp_path, spec)
    assert folder.steps()[2].values["dsp"] <= 22
    assert ("graph", "cpp") in proven(folder, tmp_path / "out")


@pytest.mark.slow
def test_a_trial_that_was_cut_off_ends_as_one_that_was_not(tmp_path: Path) -> None:
    spec = small(
        hardware={"strategy": "latency"},
        prune={**SHORT, "epochs_per_step": 3, "budget": {"lut": 2500}, "tolerance": 1.0},
        estimator="analytic",
    )
    whole = run(tmp_path / "whole", spec)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", spec, on_step=_interrupted)
    cut = run(tmp_path / "cut", spec)
    one, other = (load_checkpoint(each.checkpoint(2)) for each in (whole, cut))
    for name, part in one.extra["values"].items():
        assert torch.equal(part, other.extra["values"][name])
    for name, weight in one.state_dict.items():
        assert torch.equal(weight, other.state_dict[name])


def _interrupted(record: Any) -> None:
    if record.step == 1:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune": {"budget": {"ff": 0.5}}}, r"prune.budget.ff: .* flip-flops follow from"),
        ({"prune": {"budget": {"bram18": 0.5}}}, r"prune.budget.bram18: .* Allowed: dsp, lut"),
        ({"hardware": {"strategy": "latency", "reuse_factor": 2}}, "reuse_factor: is 2"),
        ({"hardware": {"strategy": "resource"}}, "Allowed: latency, distributed_arithmetic"),
        (
            {"hardware": {"strategy": "latency", "layers": {"fc1": {"strategy": "resource"}}}},
            r"hardware.layers.fc1.strategy: is resource",
        ),
        (
            {"hardware": {"strategy": "latency", "backend": "alkaid"}},
            "alkaid builds strategy distributed_arithmetic alone",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    base = {"hardware": {"strategy": "latency"}, "estimator": "analytic"}
    spec = TrialSpec.model_validate(small(**{**base, **changes}).canonical())
    with pytest.raises(SpecError, match=message):
        prepare(spec, tmp_path)


#: Several heads, numbers and scores of anomalies: data, task, network.
TASKS: dict[str, dict[str, Any]] = {
    "two heads": {
        "data": {"name": "two_heads", "train_rows": None},
        "task": {
            "heads": {
                "label": {"name": "classification", "metrics": ["accuracy"]},
                "pt": {"name": "regression", "weight": 0.5, "metrics": ["resolution"]},
            },
            "score": "label.accuracy",
        },
    },
    "regression": {
        "model": {"name": "tests.fpga.adders.test_adders:normed", "args": {}},
        "data": {"name": "diabetes", "train_rows": None},
        "task": {"name": "regression", "metrics": ["rmse"]},
    },
    "anomaly": {
        "model": {"name": "mlp", "args": {"hidden": [8, 4]}},
        "data": {"name": "tumour_anomalies", "train_rows": None, "val_fraction": 0.3},
        "task": {"name": "anomaly", "loss": "reconstruction", "metrics": ["auc"]},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "strategy"),
    [
        *[(task, "latency") for task in sorted(TASKS)],
        # Others are in the tests of the adder graphs.
        ("anomaly", "distributed_arithmetic"),
    ],
)
def test_other_tasks_from_training_to_what_is_built(
    task: str, strategy: str, tmp_path: Path
) -> None:
    spec = small(
        **TASKS[task],
        hardware={"strategy": strategy},
        train={"epochs": 6},
        prune={"budget": {"lut": 2000}, "steps": 1, "epochs_per_step": 4, "tolerance": 1.0},
        estimator="analytic" if strategy == "latency" else "adders",
    )
    folder = run(tmp_path, spec)
    assert folder.steps()[1].values["sparsity"] > 0
    equal = proven(folder, tmp_path / "out")
    assert ("graph", "cpp") in equal or ("torch", "graph") in equal
