"""What training knows of a regularizer, and of a method that works on the weights meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["Penalty", "Term", "Watcher"]


@dataclass(frozen=True)
class Term:
    """What a regularizer says of one tensor of N weights in G groups.

    Attributes:
        parameter: its name in the model.
        label: (N,) group of each weight, in flat torch order.
        strength: (G,) factor of each group.
        rows: whether group g is the g-th of equally long runs of weights.
    """

    parameter: str
    label: Tensor
    strength: Tensor
    rows: bool


@dataclass(frozen=True)
class Penalty:
    """A regularizer on the weights of one model.

    Attributes:
        add_gradient: adds the term's gradient to the weights' ``grad``, for the gradient form.
        shrink: applies the proximal step for a given learning rate, in place.
        proximal: which of the two forms training uses.
        terms: what it says of each tensor; empty if that cannot be said.
        on: makes the same regularizer, in the same form, of terms on other tensors.
    """

    add_gradient: Callable[[], None]
    shrink: Callable[[float], None]
    proximal: bool
    terms: tuple[Term, ...] = ()
    on: Callable[[Sequence[tuple[Tensor, Term]], bool], Penalty] | None = None


class Watcher(Protocol):
    """What is done around every update: a method that chooses while the network is trained."""

    def before(self, update: int, updates: int) -> None:
        """Called before update number `update` of `updates`."""

    def after(self, update: int, updates: int) -> None:
        """Called after it."""
