"""Metrics against scikit-learn and numpy: with and without weights, with ties, several outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from rfprune.tasks.metrics import METRICS

RTOL = 1e-12
CASES = range(6)


def metric(name: str) -> Any:
    return METRICS[name].function


def weights(rng: np.random.Generator, n: int, weighted: bool) -> np.ndarray | None:
    """Return positive weights, some of them 0, or None."""
    return rng.uniform(0.1, 3, n) * (rng.random(n) > 0.1) if weighted else None


def logits(seed: int, classes: int = 4, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return logits with many ties in float32, as a network puts them out, and labels."""
    rng = np.random.default_rng(seed)
    output = np.round(rng.normal(0, 2, (n, classes)), 1).astype(np.float32)
    return output, np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])


def binary(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities with many ties, and labels that both occur."""
    rng = np.random.default_rng(seed)
    output = np.round(rng.random(n), 2)
    return output, np.concatenate([[0, 1], (rng.random(n - 2) < output[2:]).astype(np.int64)])


def numbers(seed: int, outputs: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.normal(3, 2, (n, outputs)) * np.arange(1, outputs + 1)
    return target + rng.normal(0.2, 0.7, (n, outputs)), target


def probabilities(output: np.ndarray) -> np.ndarray:
    exponents = np.exp(output.astype(np.float64))
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", CASES)
class TestOfClasses:
    def test_accuracy(self, seed: int, weighted: bool) -> None:
        output, target = logits(seed)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.accuracy_score(target, output.argmax(1), sample_weight=weight)
        assert metric("accuracy")(output, target, weight) == pytest.approx(expected, rel=RTOL)

    def test_balanced_accuracy(self, seed: int, weighted: bool) -> None:
        output, target = logits(seed)
        target[target == 2] = 1  # a class that does not occur
        target[0] = 0
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        recalls = sklearn.recall_score(
            target, output.argmax(1), labels=np.unique(target), average=None, sample_weight=weight
        )
        found = metric("balanced_accuracy")(output, target, weight)
        assert found == pytest.approx(recalls.mean(), rel=RTOL)

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_top_k(self, seed: int, weighted: bool, k: int) -> None:
        rng = np.random.default_rng(seed)
        target = logits(seed)[1]
        output = rng.normal(size=(len(target), 4))  # without ties, which scikit-learn counts right
        weight = weights(rng, len(target), weighted)
        expected = sklearn.top_k_accuracy_score(
            target, output, k=k, sample_weight=weight, labels=np.arange(4)
        )
        assert metric("top_k")(output, target, weight, k=k) == pytest.approx(expected, rel=RTOL)

    @pytest.mark.parametrize("k", [1, 2, 3, 4])
    def test_ties_at_the_top_are_no_credit(self, seed: int, weighted: bool, k: int) -> None:
        output, target = logits(seed)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        own = output[np.arange(len(target)), target]
        worst_rank = (output >= own[:, None]).sum(axis=1)
        expected = np.average(worst_rank <= k, weights=weight)
        assert metric("top_k")(output, target, weight, k=k) == pytest.approx(expected, rel=RTOL)
        constant = np.zeros_like(output)
        assert metric("top_k")(constant, target, weight, k=k) == (k == 4)

    def test_auc_is_the_mean_of_one_against_the_rest(self, seed: int, weighted: bool) -> None:
        output, target = logits(seed)
        output = output.astype(np.float64)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        shifted = np.exp(output - output.max(axis=1, keepdims=True))
        each = shifted / shifted.sum(axis=1, keepdims=True)
        expected = [
            sklearn.roc_auc_score(target == c, each[:, c], sample_weight=weight) for c in range(4)
        ]
        assert metric("auc")(output, target, weight) == pytest.approx(np.mean(expected), rel=RTOL)

    def test_log_loss(self, seed: int, weighted: bool) -> None:
        output, target = logits(seed)
        output = output.astype(np.float64)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.log_loss(
            target, probabilities(output), sample_weight=weight, labels=np.arange(4)
        )
        assert metric("log_loss")(output, target, weight) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", CASES)
class TestOfYesAndNo:
    def test_accuracy(self, seed: int, weighted: bool) -> None:
        output, target = binary(seed)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.accuracy_score(target, output >= 0.5, sample_weight=weight)
        assert metric("accuracy")(output, target, weight) == pytest.approx(expected, rel=RTOL)

    def test_balanced_accuracy(self, seed: int, weighted: bool) -> None:
        output, target = binary(seed)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.balanced_accuracy_score(target, output >= 0.5, sample_weight=weight)
        found = metric("balanced_accuracy")(output, target, weight)
        assert found == pytest.approx(expected, rel=RTOL)

    def test_auc(self, seed: int, weighted: bool) -> None:
        output, target = binary(seed)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.roc_auc_score(target, output, sample_weight=weight)
        assert metric("auc")(output, target, weight) == pytest.approx(expected, rel=RTOL)

    @pytest.mark.parametrize("fpr", [1e-3, 0.01, 0.1, 0.5, 1.0])
    def test_tpr(self, seed: int, weighted: bool, fpr: float) -> None:
        output, target = binary(seed)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        rates, found, _ = sklearn.roc_curve(
            target, output, sample_weight=weight, drop_intermediate=False
        )
        expected = found[rates <= fpr * (1 + 1e-12)].max()
        assert metric("tpr")(output, target, weight, fpr=fpr) == pytest.approx(expected, rel=RTOL)

    def test_log_loss(self, seed: int, weighted: bool) -> None:
        output, target = binary(seed)
        assert {0.0, 1.0} & set(output), "certain answers are part of the case"
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.log_loss(target, output, sample_weight=weight)
        assert metric("log_loss")(output, target, weight) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("seed", CASES)
class TestOfNumbers:
    def test_rmse(self, seed: int, outputs: int, weighted: bool) -> None:
        output, target = numbers(seed, outputs)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.mean_squared_error(target, output, sample_weight=weight) ** 0.5
        assert metric("rmse")(output, target, weight) == pytest.approx(expected, rel=RTOL)

    def test_mae(self, seed: int, outputs: int, weighted: bool) -> None:
        output, target = numbers(seed, outputs)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.mean_absolute_error(target, output, sample_weight=weight)
        assert metric("mae")(output, target, weight) == pytest.approx(expected, rel=RTOL)

    def test_r2(self, seed: int, outputs: int, weighted: bool) -> None:
        output, target = numbers(seed, outputs)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        expected = sklearn.r2_score(target, output, sample_weight=weight)
        assert metric("r2")(output, target, weight) == pytest.approx(expected, rel=RTOL)

    def test_bias(self, seed: int, outputs: int, weighted: bool) -> None:
        output, target = numbers(seed, outputs)
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        residual = output - target
        if weight is None:
            expected = np.mean([abs(np.mean(column)) for column in residual.T])
        else:
            sums = [abs(float(weight @ column)) / weight.sum() for column in residual.T]
            expected = np.mean(sums)
        assert metric("bias")(output, target, weight) == pytest.approx(expected, rel=RTOL)

    def test_resolution(self, seed: int, outputs: int, weighted: bool) -> None:
        output, target = numbers(seed, outputs)
        residual = output - target
        weight = weights(np.random.default_rng(seed), len(target), weighted)
        widths = []
        for column in residual.T:
            if weight is None:
                low, high = np.percentile(column, [16, 84])
            else:
                rows = [(value, w) for value, w in zip(column, weight, strict=True) if w > 0]
                values, own = np.array(sorted(rows)).T
                middle = own.cumsum() - own / 2
                share = np.interp([0.16, 0.84], [0, 1], [middle[0], middle[-1]])
                low, high = np.interp(share, middle, values)
            widths.append((high - low) / 2)
        expected = np.mean(widths)
        assert metric("resolution")(output, target, weight) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("name", ["resolution", "rmse", "mae", "r2", "bias"])
def test_equal_weights_are_no_weights(name: str) -> None:
    output, target = numbers(3, 2)
    found = metric(name)(output, target, np.full(len(target), 0.3))
    assert found == pytest.approx(metric(name)(output, target), rel=1e-9)
    more = np.concatenate([output, output + 9]), np.concatenate([target, target])
    ones = np.repeat([1.0, 0.0], len(target))
    assert metric(name)(*more, ones) == pytest.approx(found, rel=1e-9), "rows of weight 0 count"


def test_resolution_is_sigma_of_a_normal_distribution() -> None:
    residual = np.random.default_rng(0).normal(5.0, 2.0, (200_000, 1))
    zero = np.zeros_like(residual)
    assert metric("resolution")(residual, zero) == pytest.approx(2 * 0.9945, rel=0.01)
    ones = np.ones(len(zero))
    assert metric("resolution")(residual, zero, ones) == pytest.approx(2 * 0.9945, rel=0.01)
    assert metric("bias")(residual, zero) == pytest.approx(5, rel=0.01)
    assert metric("bias")(-residual, zero) == pytest.approx(5, rel=0.01)


WEIGHTED = ["accuracy", "balanced_accuracy", "top_k", "auc", "log_loss"]


@settings(max_examples=30)
@given(st.sampled_from(WEIGHTED), st.integers(0, 10_000))
def test_a_weight_of_two_is_a_row_that_is_there_twice(name: str, seed: int) -> None:
    output, target = logits(seed, n=60)
    output = output.astype(np.float64)
    times = np.random.default_rng(seed).integers(1, 4, len(target))
    found = metric(name)(output, target, times.astype(float))
    repeated = metric(name)(np.repeat(output, times, axis=0), np.repeat(target, times))
    assert found == pytest.approx(repeated, rel=1e-9)


@settings(max_examples=30)
@given(st.sampled_from(["rmse", "mae", "r2", "bias"]), st.integers(0, 10_000))
def test_a_weight_of_two_is_a_row_of_numbers_that_is_there_twice(name: str, seed: int) -> None:
    output, target = numbers(seed, 2, n=40)
    times = np.random.default_rng(seed).integers(1, 4, len(target))
    found = metric(name)(output, target, times.astype(float))
    repeated = metric(name)(np.repeat(output, times, axis=0), np.repeat(target, times, axis=0))
    assert found == pytest.approx(repeated, rel=1e-9)


def test_of_a_constant_target_r2_says_whether_it_is_met() -> None:
    target = np.full((20, 1), 3.0)
    for output in (target, target + 1):
        expected = sklearn.r2_score(target, output)
        assert metric("r2")(output, target) == expected


def test_what_cannot_be_said_is_nan_and_not_a_number_of_its_own() -> None:
    output = np.linspace(0, 1, 10)
    for label in (0, 1):
        one_sided = np.full(10, label)
        assert np.isnan(metric("auc")(output, one_sided))
        assert np.isnan(metric("tpr")(output, one_sided, fpr=0.1))


def test_a_constant_score_is_no_efficiency() -> None:
    target = np.array([0, 1] * 10)
    assert metric("tpr")(np.full(20, 0.7), target, fpr=0.5) == 0.0
    assert metric("tpr")(np.full(20, 0.7), target, fpr=1.0) == 1.0
    assert metric("auc")(np.full(20, 0.7), target) == 0.5


def test_large_logits_do_not_overflow() -> None:
    output = np.array([[1e4, -1e4], [-1e4, 1e4]])
    assert metric("log_loss")(output, np.array([0, 1])) == 0.0
    assert metric("log_loss")(output, np.array([1, 0])) == 2e4
    assert metric("auc")(output, np.array([0, 1])) == 1.0


def test_every_metric_says_which_way_it_is_better() -> None:
    better = {name: row.direction for name, row in METRICS.items()}
    small = {"log_loss", "rmse", "mae", "resolution", "bias"}
    assert {name for name, way in better.items() if way == "min"} == small
    fractions = {name for name, row in METRICS.items() if row.fraction}
    assert fractions == {"accuracy", "balanced_accuracy", "top_k", "auc", "tpr"}
