"""The kernels of a CNN as the pruning loop sees them: coupled in their costs, masked when gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.edge.budgets import BudgetedTask
from rfprune.edge.conditions import under_conditions
from rfprune.edge.costs import EDGE_RESOURCES, EdgeCosts
from rfprune.edge.kernels import KernelMap, masked, shrink
from rfprune.edge.kernels import Masks as KernelMasks
from rfprune.edge.kernels.operations import ChannelKind
from rfprune.edge.shared import share_weights
from rfprune.edge.task import KernelTask, Scene, fewest_kernels
from rfprune.methods.akperl import Policy
from rfprune.pruning import GroupedWeight, Masks, Prunable, Purpose
from rfprune.pruning.scores import score_groups
from rfprune.training import Fit, evaluate, fit

if TYPE_CHECKING:
    from rfprune.pruning import Session

__all__ = ["KernelPrunable"]


class KernelPrunable(Prunable):
    """Kernels (filters) of convolutions, coupled ones as one group.

    Pruned kernels keep their weights and are masked, so that a later step may take them back.

    Attributes:
        costs: of what is kept, on the device of the trial.
    """

    coupled = True
    zeroes = False
    reward_may_decide = True
    score_rows = 2048
    score_batch = 256

    def __init__(
        self,
        model: nn.Module,
        costs: EdgeCosts,
        floor: IntArray,
        learns: bool,
        policy: Policy | None = None,
    ) -> None:
        """Take the kernels of a network.

        Args:
            model: the network.
            costs: of what is kept.
            floor: (L,) kernels that each layer keeps at least.
            learns: whether the method decides by levels, which may leave fewer than the floors.
            policy: of an agent that has learned before, which then learns no more.
        """
        self._policy = policy
        self.costs, self._floor, self._learns = costs, floor, learns
        kernels = costs.kernels
        self.resources = EDGE_RESOURCES
        self.layers = tuple(layer.name for layer in kernels.prunable)
        self.sizes = tuple(layer.weights_per_kernel for layer in kernels.prunable)
        self.weights = tuple(_grouped_weights(model, kernels))
        self._dense = dict(zip(EDGE_RESOURCES, costs.dense.tolist(), strict=True))
        # One game for all steps: it is played on the dense network, whose measurements stay valid.
        self._scene: Scene | None = None
        self._measured: nn.Module | None = None
        self._dense_values: dict[str, Tensor] | None = None
        self._known: dict[tuple[int, ...], float] = {}

    @property
    def kernels(self) -> KernelMap:
        """The kernels of the network."""
        return self.costs.kernels

    @property
    def counts(self) -> IntArray:
        """(L,) kernels of each layer."""
        return self.kernels.n_kernels

    @property
    def floor(self) -> IntArray:
        """(L,) kernels that each layer keeps at least."""
        return self._floor

    def floor_of(self, learns: bool) -> IntArray:
        """Return (L,) the floors; the agent's levels say themselves what is left of a layer."""
        if not learns:
            return self._floor
        removable = np.array([layer.removable for layer in self.kernels.prunable])
        return np.where(removable, 0, 1)

    @property
    def fixed(self) -> FloatArray:
        """(R,) zeros: costs are those of the whole network."""
        return np.zeros(len(self.resources))

    @property
    def dense(self) -> dict[str, float]:
        """What the dense network uses, by resource."""
        return self._dense

    @property
    def fewest(self) -> IntArray:
        """(L,) kernels that the method leaves at least."""
        levels = self.costs.spec.levels
        return fewest_kernels(self.kernels, levels) if self._learns else self._floor

    @property
    def least(self) -> dict[str, float]:
        """What is left, by resource, at floors or highest levels."""
        return dict(zip(self.resources, self.costs.resources(self.fewest).tolist(), strict=True))

    def why_not_less(self, resource: str, budget: float) -> str:
        """Return what holds more of a resource than a budget that cannot be reached."""
        return f"floors or levels leave {int(self.fewest.sum())} kernels"

    def _count(self, keep: BoolArray) -> IntArray:
        return np.bincount(self.layer_index[keep], minlength=len(self.layers))

    def cost(self, keep: BoolArray) -> FloatArray:
        """Return (G, R) what one kernel more or less costs beside those in `keep` (G,)."""
        return self.costs.marginal(self._count(keep))[self.layer_index]

    def used(self, keep: BoolArray) -> FloatArray:
        """Return (R,) what the network uses when the kernels in `keep` (G,) stay."""
        return self.costs.resources(self._count(keep))

    def masks(self, keep: BoolArray) -> Masks:
        """Return which kernels stay, by layer."""
        parts = torch.split(torch.from_numpy(keep), self.counts.tolist())
        return dict(zip(self.layers, parts, strict=True))

    def kept(self, masks: Masks | None) -> BoolArray:
        """Return (G,) which kernels are left under masks; None = all."""
        if masks is None:
            return np.ones(int(self.counts.sum()), dtype=bool)
        whole = KernelMasks(self.kernels, masks)
        return torch.cat([whole[name].bool() for name in self.layers]).numpy()

    def by_parameter(self, masks: Masks) -> dict[str, Tensor]:
        """Not asked for: nothing becomes zero."""
        raise NotImplementedError("pruned kernels keep their weights")

    def masked(self, model: nn.Module, masks: Masks) -> AbstractContextManager[Any]:
        """While open, `model` computes what it would without the pruned kernels."""
        return masked(model, KernelMasks(self.kernels, masks))

    def game(self, session: Session, step: int, budget: FloatArray) -> KernelTask | BudgetedTask:
        """Return what the agent plays: always on one network, within this step's budget."""
        if self._scene is None:
            self._scene = _scene(session, self.costs)
            self._dense_values = self._values_of_the_dense(session)
            self._measured = self._network_of_the_game(session)
        assert self._measured is not None
        own = self._game_on(self._measured, budget)
        shares = self.costs.spec.agent_budgets
        if not own.budgeted or not shares:
            return own
        return BudgetedTask(own, self._reachable(shares, budget))

    def _game_on(self, network: nn.Module, budget: FloatArray) -> KernelTask:
        """Return the game with the smaller networks of one that is measured."""
        assert self._scene is not None
        assert self._dense_values is not None
        # Without a budget the reward alone decides how much goes.
        limit = budget if np.isfinite(budget).any() else None
        return KernelTask(
            network,
            self.costs,
            self._dense_values,
            self.costs.spec.levels,
            self._scene,
            limit,
            self._known,
            self._policy,
        )

    def _reachable(self, shares: Sequence[float], budget: FloatArray) -> list[float]:
        """Return the budgets that the highest levels of all layers keep."""
        limited = np.isfinite(budget)
        least = self.costs.resources(self.fewest)[limited] / self.costs.dense[limited]
        return [share for share in shares if share >= least.max()]

    def _network_of_the_game(self, session: Session) -> nn.Module:
        """Return the network of which the agent measures smaller ones."""
        edge, prune, train = self.costs.spec, session.spec.prune, session.spec.train
        if edge.agent_network == "dense":
            return session.dense
        how = Fit(
            epochs=edge.shared_epochs,
            learning_rate=prune.learning_rate or train.learning_rate,
            train=train.model_copy(update={"learning_rate_schedule": "cosine"}),
            seed=session.seed(0, Purpose.SHORTLIST),
            task=session.task,
            weight=session.data.w_train,
        )
        games, data = self._games_to_come(session), session.data

        def draw(rng: np.random.Generator) -> KernelMasks:
            return games[rng.integers(len(games))].drawn(rng)

        return share_weights(session.dense, draw, data.x_train, data.y_train, how)

    def _games_to_come(self, session: Session) -> list[KernelTask]:
        """Return the games of all steps and budgets, wherever a trial goes on."""
        steps = session.spec.prune.steps
        games = [
            self._game_on(session.dense, session.budget(step / steps))
            for step in range(1, steps + 1)
        ]
        last, shares = games[-1], self.costs.spec.agent_budgets
        if not last.budgeted:
            return games[:1]
        reachable = self._reachable(shares, session.budget(1.0))
        return games + [last.within(share) for share in reachable]

    def _values_of_the_dense(self, session: Session) -> dict[str, Tensor]:
        value = score_groups(
            session.dense,
            self,
            session.spec.prune.score,
            "none",
            session.score_batches(),
            session.rng(0, Purpose.SCORE),
            task=session.task,
        )
        parts = torch.split(torch.from_numpy(value), self.counts.tolist())
        return dict(zip(self.layers, parts, strict=True))

    def tuner(self, session: Session, step: int) -> Callable[[BoolArray], float]:
        """Return what measures a smaller copy after a short fine-tuning, on validation rows."""
        prune, train = session.spec.prune, session.spec.train
        how = Fit(
            epochs=prune.agent.shortlist_epochs,
            learning_rate=prune.learning_rate or train.learning_rate,
            train=train.model_copy(update={"learning_rate_schedule": "cosine"}),
            seed=session.seed(step, Purpose.SHORTLIST),
            task=session.task,
            weight=session.data.w_train,
        )

        def tuned(keep: BoolArray) -> float:
            # A copy, since the session's own network trains on from where it is in any case.
            smaller = shrink(session.model, KernelMasks(self.kernels, self.masks(keep)))
            data = session.data
            fit(smaller, data.x_train, data.y_train, how)
            score = evaluate(smaller, data.x_val, data.y_val, session.task, data.w_val)
            return session.task.merit(score)

        return tuned


def _scene(session: Session, costs: EdgeCosts) -> Scene:
    """Return the rows on which the agent measures."""
    data, edge = session.data, costs.spec
    rows = min(edge.agent_rows, len(data.y_val))
    noise = session.seed(0, Purpose.NOISE)
    inputs = under_conditions(data.x_val[:rows], data, edge.conditions, noise)
    # Drawn, because the training rows may be sorted by class.
    settling = min(edge.settling_rows, len(data.y_train))
    drawn = session.rng(0, Purpose.SETTLE).choice(len(data.y_train), settling, replace=False)
    x, index = data.x_train, torch.from_numpy(drawn)
    settled = x.index_select(0, index.to(x.device)) if settling else None
    weight = None if data.w_val is None else data.w_val[:rows]
    return Scene(inputs, data.y_val[:rows], settled, edge.agent_measure, session.task, weight)


def _grouped_weights(model: nn.Module, kernels: KernelMap) -> Iterator[GroupedWeight]:
    """Yield the weight of everything that loses kernels, once per layer in it."""
    channels = kernels.channels
    layer_of = {layer.group: index for index, layer in enumerate(kernels.prunable)}
    # By path: a convolution that is called twice is regularized and scored once.
    for op in {op.path: op for op in channels.operations}.values():
        # A gate only scales kernels, which says nothing of what one is worth.
        if op.is_gate or op.kind not in (ChannelKind.MIX, ChannelKind.GROUPED):
            continue
        shape = model.get_parameter(f"{op.path}.weight").shape
        across = op.transposed and op.kind is ChannelKind.MIX
        # The weights of a grouped transposed convolution lie in the order of what it reads.
        layout = channels.operations[op.reads[0]] if op.transposed and not across else op
        for group in dict.fromkeys(block.group for block in layout.blocks):
            if group not in layer_of:
                continue
            own = [
                torch.arange(n) if number == group else torch.full((n,), -1)
                for number, n in ((b.group, channels.sizes[b.group]) for b in layout.blocks)
            ]
            repeats = [block.repeat for block in layout.blocks]
            features = torch.cat(
                [part.repeat_interleave(n) for part, n in zip(own, repeats, strict=True)]
            )
            # Flat order: outputs first, or inputs first where the convolution is transposed.
            rows = [1, -1, *[1] * op.spatial] if across else [-1, *[1] * (len(shape) - 1)]
            label = features.reshape(rows).expand(shape).reshape(-1)
            yield GroupedWeight(
                f"{op.path}.weight",
                layer_of[group],
                label,
                int((label == 0).sum()),
                op.kind is ChannelKind.GROUPED,
                rows=len(layout.blocks) == 1 and not across,
            )
