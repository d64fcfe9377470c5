"""Several labels per row, anomalies and heads: losses, metrics and teaching by slow formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torch import Tensor, nn

from rfprune.core.named import Named
from rfprune.errors import NetworkError, SpecError
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.tasks.heads import outputs_by_head
from rfprune.tasks.metrics import METRICS


def task_of(value: Any) -> Task:
    return make_task(TaskSpec.model_validate(value))


# Several labels ------------------------------------------------------------------------------


def labels(seed: int, n: int = 200, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    output = np.round(rng.random((n, k)), 2)
    target = (rng.random((n, k)) < output).astype(np.int64)
    target[0], target[1] = 0, 1
    return output, target


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_several_labels_are_scikit_learns(seed: int, weighted: bool) -> None:
    output, target = labels(seed)
    weight = np.random.default_rng(seed).uniform(0, 2, len(target)) if weighted else None
    answer = (output >= 0.5).astype(int)
    columns = list(zip(output.T, target.T, strict=True))
    expected = {
        "accuracy": sklearn.accuracy_score(target, answer, sample_weight=weight),
        "auc": sklearn.roc_auc_score(target, output, average="macro", sample_weight=weight),
        "log_loss": np.mean([sklearn.log_loss(t, o, sample_weight=weight) for o, t in columns]),
        "balanced_accuracy": np.mean(
            [sklearn.balanced_accuracy_score(t, o >= 0.5, sample_weight=weight) for o, t in columns]
        ),
    }
    for name, value in expected.items():
        found = METRICS[name].function(output, target, weight)
        assert found == pytest.approx(value, rel=1e-12), name
    rates = []
    for o, t in columns:
        false, true, _ = sklearn.roc_curve(t, o, sample_weight=weight, drop_intermediate=False)
        rates.append(true[false <= 0.1 * (1 + 1e-12)].max())
    found = METRICS["tpr"].function(output, target, weight, fpr=0.1)
    assert found == pytest.approx(np.mean(rates), rel=1e-12)


def test_a_task_of_several_labels_measures_probabilities() -> None:
    task = task_of({"name": "multilabel", "metrics": ["auc", "accuracy", "log_loss"]})
    output, target = torch.randn(80, 3), torch.randint(2, (80, 3)).float()
    found = task.measure(output, target)
    p, y = output.sigmoid().numpy(), target.long().numpy()
    assert found["auc"] == pytest.approx(sklearn.roc_auc_score(y, p), rel=1e-6)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(y, p >= 0.5))
    expected = nn.functional.binary_cross_entropy_with_logits(output, target)
    torch.testing.assert_close(task.loss(output, target), expected)
    behind = task.bound_to(nn.Sequential(nn.Linear(2, 3), nn.Sigmoid()))
    torch.testing.assert_close(behind.loss(output.sigmoid(), target), expected)
    assert task.guess(target, target, 3)["accuracy"] == 0.125
    assert (
        task.agreement(np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[2.0, -3.0], [1, -1]]), 0.1)
        == 0.5
    )


# Class weights and smoothing -------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_are_those_of_torch(weighted: bool) -> None:
    output, target = torch.randn(60, 3), torch.arange(60) % 3
    target[:20] = 0
    rows = torch.rand(60) if weighted else None
    task = task_of({"class_weights": [1.0, 2.0, 0.5]}).bound_to(nn.Identity(), target)
    found = task.loss(output, target, task.weights(target, rows))
    each = nn.functional.cross_entropy(
        output, target, torch.tensor([1.0, 2.0, 0.5]), reduction="none"
    )
    own = torch.tensor([1.0, 2.0, 0.5])[target]
    share = torch.ones(60) if rows is None else rows
    torch.testing.assert_close(found, (each * share).sum() / (own * share).sum())
    if rows is None:
        expected = nn.functional.cross_entropy(output, target, torch.tensor([1.0, 2.0, 0.5]))
        torch.testing.assert_close(found, expected)


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    target = torch.tensor([0] * 30 + [1] * 10 + [2] * 5)
    task = task_of({"class_weights": "balanced"}).bound_to(nn.Identity(), target)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=target.numpy())
    found = task.weights(torch.arange(3), None)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert task_of("classification").weights(target, None) is None


@pytest.mark.parametrize("weighted", [False, True])
def test_weights_of_several_labels(weighted: bool) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    output = torch.randn(50, 3)
    target = (torch.rand(50, 3) < torch.tensor([0.1, 0.5, 0.8])).float()
    rows = torch.rand(50) if weighted else None
    share = torch.ones(50, 1) if rows is None else rows.unsqueeze(1)
    balanced = [
        compute_class_weight("balanced", classes=np.arange(2), y=column.numpy())
        for column in target.long().T
    ]
    cases = {"balanced": np.array(balanced), (1.0, 3.0, 0.0): np.array([[1, 1], [3, 3], [0, 0]])}
    for given, known in cases.items():
        spec = {"name": "multilabel", "class_weights": given}
        task = task_of(spec).bound_to(nn.Identity(), target)
        own = torch.from_numpy(known).float()[torch.arange(3), target.long()] * share
        expected = nn.functional.binary_cross_entropy_with_logits(
            output, target, own, reduction="sum"
        )
        found = task.loss(output, target, task.weights(target, rows))
        torch.testing.assert_close(found, expected / own.sum())


def test_as_many_weights_as_classes() -> None:
    several = task_of({"name": "multilabel", "class_weights": [1.0, 2.0]})
    with pytest.raises(SpecError, match=r"has 2 weights, and the data have 3 labels"):
        several.bound_to(nn.Identity(), torch.ones(4, 3))
    task = task_of({"class_weights": [1.0, 2.0]})
    with pytest.raises(SpecError, match=r"task\.class_weights: has 2 weights, and the data have 3"):
        task.bound_to(nn.Identity(), torch.arange(3))


def test_smoothed_labels_are_those_of_torch() -> None:
    output, target = torch.randn(40, 4), torch.arange(40) % 4
    task = task_of({"label_smoothing": 0.2})
    expected = nn.functional.cross_entropy(output, target, label_smoothing=0.2)
    torch.testing.assert_close(task.loss(output, task.aims(target)), expected)
    teacher = torch.randn(40, 4).softmax(1)
    mixed = task.taught(task.aims(target), teacher, 0.5)
    smooth = 0.8 * nn.functional.one_hot(target, 4) + 0.05
    torch.testing.assert_close(mixed, 0.5 * smooth + 0.5 * teacher)
    binary = task_of({"name": "binary", "label_smoothing": 0.2})
    torch.testing.assert_close(
        binary.aims(torch.tensor([[0.0], [1.0]])), torch.tensor([[0.1], [0.9]])
    )
    assert torch.equal(task_of("binary").aims(output), output)


def test_label_1_may_weigh_more() -> None:
    output, target = torch.randn(40, 1), (torch.arange(40) % 2).float()[:, None]
    task = task_of({"name": "binary", "loss_args": {"pos_weight": 3.0}})
    expected = nn.functional.binary_cross_entropy_with_logits(
        output, target, pos_weight=torch.tensor([3.0])
    )
    torch.testing.assert_close(task.loss(output, target), expected)


# Anomalies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_a_reconstruction_is_judged_by_its_distance(weighted: bool) -> None:
    task = task_of(
        {
            "name": "anomaly",
            "loss": "reconstruction",
            "metrics": ["auc", {"e": {"name": "tpr", "fpr": 0.2}}],
        }
    )
    x, output = torch.randn(50, 2, 3), torch.randn(50, 6)
    label = (torch.arange(50) % 4 == 0).float()[:, None]
    weight = torch.rand(50) if weighted else None
    score = ((output - x.reshape(50, 6)) ** 2).sum(1)
    found = task.measure(task.judged(output, x), label, weight)
    own = None if weight is None else weight.numpy()
    y = label[:, 0].numpy()
    expected = sklearn.roc_auc_score(y, score.numpy(), sample_weight=own)
    assert found["auc"] == pytest.approx(expected, rel=1e-6)
    false, true, _ = sklearn.roc_curve(y, score.numpy(), sample_weight=own, drop_intermediate=False)
    assert found["e"] == pytest.approx(true[false <= 0.2].max(), rel=1e-6)
    usual = (1 - label[:, 0]) * (1 if weight is None else weight)
    loss = task.loss(task.judged(output, x), label, weight)
    torch.testing.assert_close(loss, (score * usual).sum() / usual.sum())
    assert task.needed(1, (2, 3)) == 6


def test_a_network_may_put_out_its_own_score() -> None:
    task = task_of("anomaly")
    score = torch.rand(30)
    label = torch.zeros(30, 1)
    assert task.judged(score, None).shape == (30, 1)
    torch.testing.assert_close(task.loss(score[:, None], label), score.mean())
    teacher = torch.rand(30, 1)
    taught = task.taught(label, task.teaching(teacher), 0.25)
    expected = (0.75 * score + 0.25 * (score - teacher[:, 0]).abs()).mean()
    torch.testing.assert_close(task.loss(score[:, None], taught), expected)
    # A pruned network that scores as the dense one does has nothing more to learn from it.
    assert task.loss(teacher, task.taught(label, teacher, 1.0)) == 0


# Heads -------------------------------------------------------------------------------------------

HEADS = {
    "heads": {
        "label": {"name": "classification", "metrics": ["accuracy", "auc"]},
        "pt": {"name": "regression", "loss": "huber", "weight": 0.5, "metrics": ["rmse"]},
        "tau": {"name": "binary", "weight": 2.0, "metrics": [{"eff": {"name": "tpr", "fpr": 0.1}}]},
    },
    "score": "pt.rmse",
}


def batch() -> tuple[dict[str, Tensor], Named]:
    torch.manual_seed(0)
    output = {"label": torch.randn(40, 3), "pt": torch.randn(40, 2), "tau": torch.randn(40, 1)}
    target = {
        "label": torch.arange(40) % 3,
        "pt": torch.randn(40, 2),
        "tau": (torch.arange(40) % 2)[:, None].float(),
    }
    return output, Named(target)


@pytest.mark.parametrize("weighted", [False, True])
def test_heads_are_trained_by_the_weighted_sum_and_measured_alone(weighted: bool) -> None:
    task = task_of(HEADS)
    assert (task.score, task.spec.score_name, task.direction) == ("pt_rmse", "val_pt_rmse", "min")
    output, target = batch()
    weight = torch.rand(40) if weighted else None
    alone = {
        name: task_of({k: v for k, v in spec.items() if k != "weight"})
        for name, spec in HEADS["heads"].items()
    }
    losses = {
        name: one.loss(output[name], target.parts[name], weight) for name, one in alone.items()
    }
    found = task.loss(output, target, weight)
    torch.testing.assert_close(found, losses["label"] + 0.5 * losses["pt"] + 2 * losses["tau"])
    measured = task.measure(output, target, weight)
    expected = {
        f"{name}_{alias}": value
        for name, one in alone.items()
        for alias, value in one.measure(output[name], target.parts[name], weight).items()
    }
    assert measured == expected
    assert list(measured) == ["label_accuracy", "label_auc", "pt_rmse", "tau_eff"]
    names = [quantity.name for quantity in task.quantities]
    assert names[:2] == ["val_pt_rmse", "pt_rmse"]
    assert set(names) == {f"{p}{alias}" for alias in measured for p in ("", "val_")}


def test_each_head_is_taught_by_its_own_and_weighs_its_own_classes() -> None:
    output, target = batch()
    task = task_of(HEADS)
    taught = task.taught(task.aims(target), task.teaching(output), 1.0)
    torch.testing.assert_close(taught.parts["label"], output["label"].softmax(1))
    assert torch.equal(taught.parts["pt"], output["pt"])
    weighed = {"heads": {**HEADS["heads"], "label": {"class_weights": [1, 2, 3]}}}
    bound = task_of(weighed).bound_to(nn.Identity(), target)
    weights = bound.weights(target, None)
    assert weights.parts["label"].tolist() == [1.0 + k % 3 for k in range(40)]
    assert weights.parts["pt"].tolist() == [1.0] * 40
    assert bound.loss(output, target, weights) != task.loss(output, target)
    same = task.same(
        {k: v.numpy() for k, v in output.items()},
        {k: v.numpy() for k, v in output.items()},
        {"label": 1, "pt": 0.1, "tau": 1},
    )
    assert same.all()


class Two(nn.Module):
    def __init__(self, by_name: bool, sigmoid: str) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 1)
        self.by_name, self.sigmoid = by_name, sigmoid

    def forward(self, x: Tensor) -> Any:
        a, b = self.a(x), self.b(x)
        if self.sigmoid == "a":
            a = a.sigmoid()
        if self.sigmoid == "b":
            b = torch.sigmoid(b)
        return {"b": b, "a": a} if self.by_name else (a, b)


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("sigmoid", ["a", "b"])
def test_the_sigmoid_of_each_head_is_seen(by_name: bool, sigmoid: str) -> None:
    task = task_of({"heads": {"a": "binary", "b": "binary"}}).bound_to(Two(by_name, sigmoid))
    logits = {name: head.logits for name, head in task.heads.items()}  # type: ignore[attr-defined]
    assert logits == {"a": sigmoid != "a", "b": sigmoid != "b"}


def test_outputs_are_those_of_a_tuple_in_order_or_of_a_dict_by_key() -> None:
    one, two = torch.zeros(3, 1), torch.ones(3, 2)
    assert outputs_by_head((one, two), ["a", "b"]) == {"a": one, "b": two}
    assert outputs_by_head({"b": two, "a": one}, ["a", "b"]) == {"a": one, "b": two}
    assert outputs_by_head(one, ["a"]) == {"a": one}
    for wrong, said in [(one, "one Tensor"), ((one,), "1 outputs"), ({"a": one}, "a dict of a")]:
        with pytest.raises(NetworkError, match=f"puts out {said}, and the task has the heads a, b"):
            outputs_by_head(wrong, ["a", "b"])
