"""What can be pruned of a network, as the loop sees it: numbered groups of weights with costs.

Axes: G groups, L layers, R resources, N weights of one tensor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from rfprune.methods.problem import GroupTask
    from rfprune.pruning.session import Session

__all__ = ["GroupedWeight", "Masks", "Prunable", "Trained", "Values"]

#: By layer name: of the weights in the weight's shape, or of the kernels (n_kernels,).
Masks = dict[str, Tensor]


#: What a method that chooses values has chosen, by name.
Values = dict[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """A step in which choosing and training were one.

    Attributes:
        masks: of what is not zero, by layer name.
        prices: (R,) prices of the last choice.
        gaps: proven, of every choice.
    """

    masks: Masks
    prices: FloatArray
    gaps: tuple[float, ...]


@dataclass(frozen=True)
class GroupedWeight:
    """One weight tensor, each of whose weights belongs to a group.

    Several tensors may share groups, as coupled convolutions do.

    Attributes:
        parameter: its name in the model.
        layer: number of the layer that it belongs to, 0..L-1.
        label: (N,) group of each weight within its layer, in flat torch order.
        size: weights of a full group, in this tensor.
        follows: it only loses weights with another one (a depthwise convolution behind the one
            whose kernels are pruned): neither regularized nor asked for gradients.
        rows: group g is the g-th of equally long runs of it, as kernels are.
    """

    parameter: str
    layer: int
    label: Tensor
    size: int
    follows: bool = False
    rows: bool = False

    def of(self, model: nn.Module) -> Tensor:
        """Return the tensor in `model`."""
        return model.get_parameter(self.parameter)


class Prunable(ABC):
    """The groups of a network on its target, what they cost there, and how they are taken away.

    Attributes:
        resources: (R,) what a budget may limit.
        layers: (L,) names of the layers that are pruned.
        sizes: (L,) weights that go with a full group of each layer.
        weights: every tensor that holds groups.
        coupled: whether what a group costs depends on which others are kept.
        zeroes: whether what is pruned is zero among the model's weights after training; otherwise
            it keeps its values, and a later step may take it back as it was.
        reward_may_decide: whether a method that learns may take its reward in place of a budget.
        score_rows: training rows that gradient-based scores look at.
        score_batch: how many of them at once.
    """

    resources: tuple[str, ...]
    layers: tuple[str, ...]
    weights: tuple[GroupedWeight, ...]
    sizes: tuple[int, ...]
    coupled: ClassVar[bool]
    zeroes: ClassVar[bool]
    reward_may_decide: ClassVar[bool] = False
    score_rows: ClassVar[int] = 4096
    score_batch: ClassVar[int] = 512

    @property
    @abstractmethod
    def counts(self) -> IntArray:
        """(L,) groups of each layer."""

    @property
    @abstractmethod
    def floor(self) -> IntArray:
        """(L,) groups that each layer keeps at least."""

    @property
    def layer_index(self) -> IntArray:
        """(G,) the layer of each group."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int64), self.counts)

    @property
    @abstractmethod
    def fixed(self) -> FloatArray:
        """(R,) what no pruning frees."""

    @abstractmethod
    def cost(self, keep: BoolArray) -> FloatArray:
        """Return (G, R) what each group costs beside those in `keep` (G,)."""

    @abstractmethod
    def used(self, keep: BoolArray) -> FloatArray:
        """Return (R,) what the network uses when the groups in `keep` (G,) stay."""

    @property
    def dense(self) -> dict[str, float]:
        """What the dense network uses, by resource in the order of the axis."""
        everything = np.ones(int(self.counts.sum()), dtype=bool)
        return dict(zip(self.resources, self.used(everything).tolist(), strict=True))

    @property
    @abstractmethod
    def least(self) -> dict[str, float]:
        """What is left, by resource, when every layer is pruned down to its floor."""

    def counts_all_of(self, resource: str) -> bool:
        """Return whether the groups and what is fixed hold all of a resource that there is."""
        return resource in self.resources

    @abstractmethod
    def why_not_less(self, resource: str, budget: float) -> str:
        """Return what holds more of a resource than a budget that cannot be reached."""

    def start(self, model: nn.Module) -> None:  # noqa: B027
        """Take the dense network: fractions are parts of what is built of it, where that is known.

        First the untrained one, so that budgets out of reach are refused before it is trained.
        """

    def correct_costs(self, model: nn.Module, masks: Masks | None) -> bool:
        """Correct costs by what is built of `model` under masks; return whether they have changed.

        Args:
            model: as it is before the choice.
            masks: of what was chosen by the present costs; None before the first choice of a step,
                where the costs become what they are at the start of every step.
        """
        return False

    def repair(self, model: nn.Module, masks: Masks, budget: FloatArray) -> Masks:
        """Return masks under which what is built of a trained network is within a budget (R,).

        What they take away beyond `masks` is taken from the model in place.

        Raises:
            BudgetError: nothing that may go is left.
        """
        return masks

    @abstractmethod
    def masks(self, keep: BoolArray) -> Masks:
        """Return the masks that keep the groups in `keep` (G,), by layer name."""

    @abstractmethod
    def kept(self, masks: Masks | None) -> BoolArray:
        """Return (G,) which groups are left under masks; None = all."""

    @abstractmethod
    def by_parameter(self, masks: Masks) -> dict[str, Tensor]:
        """Return masks by the parameter that they are multiplied with, in its shape.

        Only asked for where pruned groups become zeroes.
        """

    @abstractmethod
    def masked(self, model: nn.Module, masks: Masks) -> AbstractContextManager[Any]:
        """While open, `model` computes what is left under masks; then it has its weights back.

        Where pruned groups keep their values, it may be trained meanwhile.
        """

    def rounded(self, model: nn.Module) -> AbstractContextManager[Any]:
        """While open, `model` trains in the numbers of the target, if the trial asks for that."""
        return nullcontext()

    def level(
        self, session: Session, step: int, budget: FloatArray, before: FloatArray | None
    ) -> Trained:
        """Choose values and train, of a method that does both at once.

        Args:
            session: whose model is trained in place.
            step: its number.
            budget: (R,) to reach.
            before: (R,) what was reached before, None at the start.
        """
        raise NotImplementedError

    def values(self) -> Values | None:
        """Return what is chosen beside the masks; None where masks are all."""
        return None

    def take(self, values: Values | None) -> None:  # noqa: B027
        """Go back to what was chosen."""

    def deployed(self, model: nn.Module) -> nn.Module:
        """Return `model` as the target computes it, for measuring; itself where that is in floats.

        Later changes of its weights need not show in what is returned.
        """
        return model

    def floor_of(self, learns: bool) -> IntArray:
        """Return (L,) the floors for a method, which may have levels of its own if it learns."""
        return self.floor

    def game(self, session: Session, step: int, budget: FloatArray) -> GroupTask | None:
        """Return what a method that learns plays in one step; None = the groups themselves."""
        return None

    def tuner(self, session: Session, step: int) -> Callable[[BoolArray], float] | None:
        """Return what measures kept groups (G,) after a short fine-tuning; None = nothing does."""
        return None
