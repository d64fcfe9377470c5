"""What training knows of a regularizer, and of a method that works on the weights meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Penalty", "Watcher"]


@dataclass(frozen=True)
class Penalty:
    """A regularizer on the weights of one model.

    Attributes:
        add_gradient: adds the term's gradient to the weights' ``grad``, for the gradient form.
        shrink: applies the proximal step for a given learning rate, in place.
        proximal: which of the two forms training uses.
    """

    add_gradient: Callable[[], None]
    shrink: Callable[[float], None]
    proximal: bool


class Watcher(Protocol):
    """What is done around every update: a method that chooses while the network is trained."""

    def before(self, update: int, updates: int) -> None:
        """Called before update number `update` of `updates`."""

    def after(self, update: int, updates: int) -> None:
        """Called after it."""
