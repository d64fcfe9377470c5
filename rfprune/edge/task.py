"""The agent's game on a CNN: it prunes layer by layer and sees accuracy and power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.kernels import KernelMap, Masks, shrink
from rfprune.edge.monitor import input_statistics
from rfprune.errors import SpecError
from rfprune.methods.agent_task import AgentMeasurement, random_levels
from rfprune.methods.akperl import Policy
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.training import evaluate, outputs_of, settle_norms

__all__ = ["KernelTask", "Scene", "allowed_levels", "drawn_fractions", "fewest_kernels"]

#: Rows per pass when norms are settled.
_SETTLING_BATCH = 256
#: Sequences that a policy proposes, many of which come to one network, and networks of them.
_PROPOSED, _ANSWERS = 64, 8
#: How far the levels of the layers of a network of any size lie around a common one.
_SPREAD = 0.25


@dataclass(frozen=True)
class Scene:
    """The rows on which the agent measures.

    Attributes:
        inputs: (B, ...) per condition of the input; the first one decides what is kept.
        targets: of the rows, as the task of the training makes them.
        settling: (N, ...) training rows on which batch norms are settled before a measurement;
            None = they keep the dense network's statistics.
        by: accuracy: the score of the task; or probability: the mean of what the network gives the
            right class, that is, the accuracy of a class drawn from its probabilities.
        task: what the training is for; classification if not given.
        weight: (B,) of the rows, or None.
    """

    inputs: Mapping[str, Tensor]
    targets: Any
    settling: Tensor | None = None
    by: Literal["accuracy", "probability"] = "accuracy"
    task: Task | None = None
    weight: Tensor | None = None


def fewest_kernels(kernels: KernelMap, levels: Sequence[float]) -> IntArray:
    """Return (L,) kernels that are left at the highest level of every layer."""
    return kernels.kept(_highest(allowed_levels(kernels, levels), levels))


def allowed_levels(kernels: KernelMap, levels: Sequence[float]) -> BoolArray:
    """Return (L, A) the levels of every layer: all of it only where a skip path goes around it."""
    removable = np.array([layer.removable for layer in kernels.prunable])
    return np.asarray(removable[:, None] | (np.array(levels) < 1))


def _highest(allowed: BoolArray, levels: Sequence[float]) -> FloatArray:
    return np.asarray(np.where(allowed, np.array(levels), 0.0).max(axis=1))


def drawn_fractions(levels: FloatArray, allowed: BoolArray, drawn: FloatArray) -> FloatArray:
    """Return (L,) the levels of a network, of any size with equal odds.

    Levels drawn one by one would nearly always come to networks of about half of the size.

    Args:
        levels: (A,) fractions.
        allowed: (L, A).
        drawn: (1 + L,) numbers from 0 to 1: of the network, and of each of its layers.
    """
    wanted = drawn[0] + _SPREAD * (2 * drawn[1:] - 1)
    distance = np.where(allowed, np.abs(levels[None] - wanted[:, None]), np.inf)
    return np.asarray(levels[distance.argmin(axis=1)])


class KernelTask:
    """Levels of pruning for every layer of a CNN; a measurement is a pass of the smaller network.

    Nothing is trained, so a measurement takes as long as a forward pass. With a budget, a decision
    that leaves no room for the layers after it, even at their highest levels, counts as the next
    higher level that does: whatever is decided, the budget holds.

    Args:
        model: the trained network; it is left alone.
        costs: what is left costs so much.
        importance: of every kernel, by layer; the least important go first.
        levels: (A,) fractions; 1 only where a skip path goes around the layer.
        scene: rows.
        budget: (R,) as in `EDGE_RESOURCES`, not below what `fewest_kernels` use; None = the reward
            decides alone.
        known: accuracies that were measured before on the same network and rows, by condition and
            kernels kept; more are added.
        policy: that was learned before, on layers of the same names.
    """

    def __init__(
        self,
        model: nn.Module,
        costs: EdgeCosts,
        importance: Mapping[str, Tensor],
        levels: list[float],
        scene: Scene,
        budget: FloatArray | None = None,
        known: dict[tuple[int, ...], float] | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.policy = policy
        self._model, self._costs, self._importance = model, costs, importance
        self._scene, self._budget = scene, budget
        self._inputs = list(scene.inputs.values())
        self.kernels: KernelMap = costs.kernels
        self.layers = tuple(layer.name for layer in self.kernels.prunable)
        self.levels = tuple(levels)
        self.budgeted = budget is not None
        self.allowed = allowed_levels(self.kernels, levels)
        self.conditions = len(self._inputs)
        self._accuracies = {} if known is None else known
        self._effective: dict[tuple[int, ...], tuple[float, ...]] = {(): ()}
        self._finals: dict[tuple[int, ...], IntArray] = {}
        self._highest = _highest(self.allowed, levels)

    def features(self, condition: int) -> FloatArray:
        """Return (F,) mean statistics of the input under a condition."""
        return input_statistics(self._inputs[condition]).mean

    def layer_features(self) -> FloatArray:
        """Return (L, 5): shares of kernels, MACs and parameters, whether it may go, mean rank.

        The last one is the mean importance of the layer's kernels against its largest: near 1 where
        all kernels matter alike.
        """
        layers = self.kernels.prunable
        sizes = np.array([[layer.n_kernels for layer in layers]], dtype=float)
        each = [[layer.macs_per_kernel for layer in layers]]
        each += [[layer.weights_per_kernel for layer in layers]]
        shares = np.concatenate([sizes, sizes * np.array(each)])
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
        spread = [
            float(rank.mean() / rank.max().clamp_min(1e-12)) for rank in self._ordered_importance()
        ]
        removable = [float(layer.removable) for layer in layers]
        return np.column_stack([*shares, removable, spread])

    def _ordered_importance(self) -> list[Tensor]:
        return [self._importance[name] for name in self.layers]

    def measure(self, choice: IntArray, upto: int, condition: int) -> AgentMeasurement:
        """Return accuracy and power with the first layers pruned, the others whole."""
        # In the end it is measured as it will be kept.
        kept = self._final(choice) if upto == len(self.layers) else self._kept(choice, upto)
        # Different decisions may leave the same kernels, and a pass over the rows takes long.
        key = (condition, *map(int, kept))
        if key not in self._accuracies:
            smaller = shrink(self._model, self._masks_of(kept))
            self._accuracies[key] = self._merit(smaller, condition)
        share = self._costs.share(kept)
        pruned = 1 - kept.sum() / self.kernels.n_kernels.sum()
        return AgentMeasurement(self._accuracies[key], share, {"kernel_sparsity": float(pruned)})

    def network(self, choice: IntArray, condition: int) -> tuple[int, ...]:
        """Return the kernels that every layer keeps in the end, under whatever condition."""
        return tuple(map(int, self._final(choice)))

    def _merit(self, smaller: nn.Module, condition: int) -> float:
        """Return how good a network is under a condition; its norms are settled in place."""
        scene, x = self._scene, self._inputs[condition]
        if scene.settling is not None:
            settle_norms(smaller, scene.settling, _SETTLING_BATCH)
        task = scene.task or make_task(TaskSpec())
        if scene.by == "accuracy":
            return task.merit(evaluate(smaller, x, scene.targets, task, scene.weight))
        return task.confidence(outputs_of(smaller, x, task), scene.targets)

    def keep(self, choice: IntArray) -> BoolArray:
        """Return (G,) the kernels that stay in the end, layer after layer.

        Levels are coarse: what they leave of the budget goes to more kernels of the same layers.
        """
        masks = self._masks_of(self._final(choice))
        return torch.cat([masks[name] for name in self.layers]).numpy()

    def _kept(self, choice: IntArray, upto: int) -> IntArray:
        """Return (L,) the kernels that are left when the first layers are decided."""
        return self.kernels.kept(self.fractions(choice, upto))

    def _final(self, choice: IntArray) -> IntArray:
        """Return (L,) the kernels that are left in the end."""
        kept = self._kept(choice, len(self.layers))
        if self._budget is None:
            return kept
        # Kept, because many decisions come to few networks, and filling asks for many costs.
        key = tuple(kept.tolist())
        if key not in self._finals:
            self._finals[key] = self._filled(kept, self._budget)
        return self._finals[key]

    def drawn(self, rng: np.random.Generator) -> Masks:
        """Return a network of the game: random levels within the budget, else one of any size."""
        if self._budget is None:
            levels, numbers = np.array(self.levels), rng.random(1 + len(self.layers))
            fractions = drawn_fractions(levels, self.allowed, numbers)
            return self.kernels.masks(self._importance, fractions)
        return self._masks_of(self._final(random_levels(self.allowed, rng)))

    def _masks_of(self, kept: IntArray) -> Masks:
        return self.kernels.masks(self._importance, 1 - kept / self.kernels.n_kernels)

    def nearest(self, keep: BoolArray) -> IntArray:
        """Return (L,) the levels that come nearest to keeping the kernels in `keep` (G,)."""
        parts = np.split(keep, np.cumsum(self.kernels.n_kernels)[:-1])
        gone = np.array([1 - part.mean() for part in parts])
        distance = np.abs(np.array(self.levels)[None] - gone[:, None])
        return np.asarray(np.where(self.allowed, distance, np.inf).argmin(axis=1))

    def worth(self, keep: BoolArray) -> float:
        """Return what the agent measures of the network that keeps `keep` (G,), on clean rows."""
        parts = torch.split(torch.from_numpy(keep), self.kernels.n_kernels.tolist())
        masks = Masks(self.kernels, dict(zip(self.layers, parts, strict=True)))
        return self._merit(shrink(self._model, masks), 0)

    def within(self, share: float) -> KernelTask:
        """Return the same game within another budget: a part of what the dense network uses."""
        assert self._budget is not None, "without a budget there is nothing to change"
        budget = np.where(np.isfinite(self._budget), share * self._costs.dense, np.inf)
        return KernelTask(
            self._model,
            self._costs,
            self._importance,
            list(self.levels),
            self._scene,
            budget,
            self._accuracies,
            self.policy,
        )

    def answers(self) -> list[IntArray]:
        """Return decisions (L,) of a policy on clean rows within the budget, its own choice first.

        They come to different networks, few enough to measure each; empty without a policy.

        Raises:
            SpecError: it was learned for other layers or levels.
        """
        if self.policy is None:
            return []
        state = self.policy.state
        if state.layers != self.layers or not np.array_equal(state.levels, self.levels):
            raise SpecError(
                f"edge.agent_policy: was learned for the layers {', '.join(state.layers)} at "
                f"levels {state.levels.tolist()}; this network has {', '.join(self.layers)} at "
                f"{list(self.levels)}."
            )
        seen = self.features(0)
        # A policy of one budget does not look at it.
        asked = np.append(seen, self.share()) if len(state.mean) > len(seen) else seen
        found: dict[tuple[int, ...], IntArray] = {}
        for choice in (self.policy.choose(asked), *self.policy.propose(asked, _PROPOSED)):
            found.setdefault(self.network(choice, 0), choice)
        return list(found.values())[:_ANSWERS]

    def share(self) -> float:
        """Return the tightest budget, as a part of what the dense network uses; 1 without one."""
        if self._budget is None:
            return 1.0
        return float((self._budget / self._costs.dense).min())

    def _filled(self, kept: IntArray, budget: FloatArray) -> IntArray:
        """Return (L,) counts that leave no room for another kernel in a layer that keeps some.

        The next kernel is always the one of the most importance for its costs.
        """
        # The last entry stands for the kernel after the last one, which never fits.
        ordered = [
            [*values.sort(descending=True).values.tolist(), 0.0]
            for values in self._ordered_importance()
        ]
        size, limited = self.kernels.n_kernels, np.isfinite(budget)
        while True:
            grown = kept + np.eye(len(kept), dtype=np.int64)
            used = self._costs.resources(np.concatenate([kept[None], np.minimum(grown, size)]))
            shares = used[:, limited] / budget[limited]
            fits = (kept > 0) & (kept < size) & np.all(shares[1:] <= 1 + 1e-9, axis=1)
            if not fits.any():
                return kept
            more = np.maximum((shares[1:] - shares[0]).max(axis=1), 1e-12)
            following = np.array([row[n] for row, n in zip(ordered, kept, strict=True)])
            kept = grown[int(np.argmax(np.where(fits, following / more, -np.inf)))]

    def fractions(self, choice: IntArray, upto: int) -> FloatArray:
        """Return (L,) what decisions come to: levels, or higher ones that the budget asks for."""
        decided = self._within(tuple(int(level) for level in choice[:upto]))
        return np.array([*decided, *[0.0] * (len(self.layers) - upto)])

    def _within(self, prefix: tuple[int, ...]) -> tuple[float, ...]:
        # Kept, because episodes share their first decisions.
        if prefix not in self._effective:
            before = self._within(prefix[:-1])
            self._effective[prefix] = (*before, self._next(before, prefix[-1]))
        return self._effective[prefix]

    def _next(self, before: tuple[float, ...], level: int) -> float:
        """Return the lowest level from `level` on that leaves room for the layers to come."""
        layer = len(before)
        if self._budget is None:
            return self.levels[level]
        options = [
            fraction
            for fraction, allowed in zip(self.levels, self.allowed[layer], strict=True)
            if allowed and fraction >= self.levels[level]
        ]
        rest = self._highest[layer + 1 :]
        networks = np.array([[*before, option, *rest] for option in options])
        used = self._costs.resources(self.kernels.kept(networks))
        fits = np.all(used <= self._budget * (1 + 1e-9), axis=1)
        assert fits.any(), "the highest level was left room for by every decision before"
        return options[int(np.argmax(fits))]
