"""What the loop asks of groups and kernels: counts, costs, masks there and back, weights kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.pruning.cases import CASES, Case

KINDS = sorted(CASES)
MADE = {kind: CASES[kind]() for kind in KINDS}
SEEDS = st.integers(0, 2**32 - 1)


def drawn(case: Case, seed: int) -> np.ndarray:
    """Return kept groups (G,), with at least one of every layer."""
    rng = np.random.default_rng(seed)
    index = case.prunable.layer_index
    keep = rng.random(len(index)) < rng.random()
    keep[[int(rng.choice(np.flatnonzero(index == k))) for k in np.unique(index)]] = True
    return keep


@pytest.mark.parametrize("kind", KINDS)
def test_axes_are_as_long_as_they_say(kind: str) -> None:
    case = MADE[kind].prunable
    n_layers, n_groups = len(case.layers), int(case.counts.sum())
    assert len(case.sizes) == len(case.floor) == n_layers
    assert case.layer_index.tolist() == [k for k, n in enumerate(case.counts) for _ in range(n)]
    everything = np.ones(n_groups, dtype=bool)
    assert case.cost(everything).shape == (n_groups, len(case.resources))
    assert case.fixed.shape == case.used(everything).shape == (len(case.resources),)
    assert list(case.dense) == list(case.least) == list(case.resources)
    assert case.dense == dict(zip(case.resources, case.used(everything), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@given(SEEDS)
def test_masks_say_what_is_kept(kind: str, seed: int) -> None:
    case = MADE[kind]
    keep = drawn(case, seed)
    masks = case.prunable.masks(keep)
    assert tuple(masks) == case.prunable.layers
    np.testing.assert_array_equal(case.prunable.kept(masks), keep)
    assert case.prunable.kept(None).all()


@pytest.mark.parametrize("kind", KINDS)
@given(SEEDS)
def test_use_falls_with_every_group_and_never_below_the_least(kind: str, seed: int) -> None:
    case = MADE[kind].prunable
    keep = drawn(MADE[kind], seed)
    used, dense = case.used(keep), np.array(list(case.dense.values()))
    least = np.array(list(case.least.values()))
    assert (used <= dense * (1 + 1e-12)).all()
    assert (used >= least * (1 - 1e-12)).all()
    if not case.coupled:
        alone = case.fixed + case.cost(keep)[keep].sum(axis=0)
        # Memory words that groups share are held by none of them alone.
        assert (used >= alone - 1e-9).all()
        assert used[0] == alone[0]


@pytest.mark.parametrize("kind", KINDS)
@given(SEEDS)
def test_while_masked_the_network_computes_without_what_is_pruned(kind: str, seed: int) -> None:
    case = MADE[kind]
    model, keep = case.model.eval(), drawn(case, seed)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = case.batches[0][0]
    with torch.no_grad():
        whole = model(x)
        with case.prunable.masked(model, case.prunable.masks(keep)):
            masked = model(x)
        assert torch.equal(model(x), whole)
        # Weights of what is pruned decide nothing any more.
        for name, label in case.labels.items():
            gone = torch.from_numpy(~keep)[label]
            model.get_parameter(name)[gone] += 5.0
        with case.prunable.masked(model, case.prunable.masks(keep)):
            torch.testing.assert_close(model(x), masked, rtol=1e-5, atol=1e-6)
        model.load_state_dict(before)
    if keep.all():
        assert torch.equal(masked, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_back_when_something_fails_meanwhile(kind: str) -> None:
    case = MADE[kind]
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    masks = case.prunable.masks(drawn(case, 1))
    with pytest.raises(RuntimeError, match="meanwhile"), case.prunable.masked(case.model, masks):
        raise RuntimeError("meanwhile")
    after = case.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    x = case.batches[0][0]
    with torch.no_grad():
        assert torch.equal(case.model.eval()(x), CASES[kind]().model.eval()(x))


def test_masks_of_groups_are_by_parameter_in_its_shape() -> None:
    case = MADE["groups"]
    keep = drawn(case, 3)
    found = case.prunable.by_parameter(case.prunable.masks(keep))
    assert set(found) == set(case.labels)
    for name, label in case.labels.items():
        assert torch.equal(found[name].bool(), torch.from_numpy(keep)[label])


def test_kernels_keep_their_values() -> None:
    case = MADE["kernels"]
    assert not case.prunable.zeroes
    with pytest.raises(NotImplementedError, match="keep their weights"):
        case.prunable.by_parameter(case.prunable.masks(drawn(case, 3)))
