"""What every step of a method that chooses values shares: when it chooses, what it presses.

The budget falls over the first part of a step, the choice is renewed over most of it, and stays for
the rest. A weight that is zero decays slowly and can come back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import FloatArray
from rfprune.data import Dataset
from rfprune.spec.widths import WidthsSpec
from rfprune.tasks import Task
from rfprune.training.penalty import Penalty

__all__ = ["CALIBRATED", "KEPT", "RENEWED", "SLACK", "AveragedWeights", "Rung"]

#: Rows that integer bits are set by while a network is trained.
CALIBRATED = 20_000
#: Every how many choices bits and Fisher matrix are taken again, and how much of it stays then.
RENEWED, KEPT = 4, 0.7
#: Part of the budget that a choice on the way may leave over; the last one leaves none.
SLACK = 0.005
#: The weights are averaged over the last part of a step.
_AVERAGED = 0.75


class AveragedWeights:
    """The weights of a network are their mean over the last part of a step."""

    def __init__(self, model: nn.Module, share: float) -> None:
        """Take the network, and how much of the mean stays at an update; 0 = no mean."""
        self._model, self._share = model, share
        self._mean: list[Tensor] = []

    def after(self, update: int, updates: int) -> None:
        """Take in the weights after an update; after the last one they are the mean."""
        if not self._share or update < _AVERAGED * updates:
            return
        with torch.no_grad():
            parameters = list(self._model.parameters())
            if not self._mean:
                self._mean = [each.detach().clone() for each in parameters]
            now = [each.detach() for each in parameters]
            torch._foreach_lerp_(self._mean, now, 1 - self._share)
            if update == updates - 1:
                for parameter, mean in zip(parameters, self._mean, strict=True):
                    parameter.copy_(mean)


class Rung(ABC):
    """One step; `before` and `after` are called around every update.

    Attributes:
        model: the network.
        data: the rows.
        task: what the training is for.
        spec: the settings.
        gaps: of every choice.
    """

    model: nn.Module
    data: Dataset
    task: Task
    spec: WidthsSpec
    gaps: list[float]
    _fisher: list[FloatArray]

    def _begin(self, seed: int) -> None:
        """Seed what is drawn."""
        self._random = torch.Generator().manual_seed(seed)
        self._factor: list[Tensor] = []
        self._left: list[Tensor] = []
        self._average = AveragedWeights(self.model, self.spec.average)
        self._pressing = True

    @abstractmethod
    def calibrate(self, x: Any, widens: bool = False) -> None:
        """Set the integer bits so that none of these rows wraps; bits stay if it `widens`."""

    @abstractmethod
    def _weights(self) -> list[Tensor]:
        """Return the weights that values are chosen for."""

    @abstractmethod
    def _measure_fisher(self) -> None:
        """Take the Fisher matrices on some rows, and mix them with those before."""

    @abstractmethod
    def _choose_at(self, share: float, last: bool) -> None:
        """Choose under the budgets at `share` of their fall; `last` leaves nothing of them."""

    @property
    def penalty(self) -> Penalty | None:
        """L1 on every weight, by what a digit of it costs, while weights are chosen."""
        if not self.spec.l1:
            return None

        def add_gradient() -> None:
            if not self._pressing:
                return
            weights = self._weights()
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            pressed = torch._foreach_sign([weight.detach() for weight in weights])
            torch._foreach_mul_(pressed, self._factor)
            torch._foreach_add_(gradients, list(pressed))

        return Penalty(add_gradient, lambda rate: None, proximal=False)

    def before(self, update: int, updates: int) -> None:
        """Choose again where it is time to."""
        self._pressing = update < self.spec.choosing * updates
        last = int(np.ceil(self.spec.choosing * updates)) - 1
        due = update % self.spec.reselect_every == 0
        if not (self._pressing and due) and update != last:
            return
        # As the training itself, the choice must not depend on gradients of other rows.
        if update % (self.spec.reselect_every * RENEWED) == 0 or not self._fisher:
            self.calibrate(self.data.x_train[:CALIBRATED])
            for _ in range(1 if self._fisher else 4):
                self._measure_fisher()
        self._choose_at(min(1.0, update / max(1.0, self.spec.falling * updates)), update == last)

    def after(self, update: int, updates: int) -> None:
        """Let zeros decay, and average the last part."""
        with torch.no_grad():
            torch._foreach_mul_(self._weights(), self._left)
        self._average.after(update, updates)

    def _drawn(self, output: Any, y: Any) -> Any:
        """Return labels drawn from the network itself, which make it the Fisher matrix proper.

        Where the targets are no labels they are taken as they are.
        """
        if _are_classes(output, y):
            chances = torch.softmax(output.detach(), dim=1).cpu()
            return torch.multinomial(chances, 1, generator=self._random)[:, 0].to(output.device)
        if isinstance(output, Tensor) and self.task.spec.name == "binary":
            chances = torch.sigmoid(output.detach()).cpu().reshape(y.shape)
            return torch.bernoulli(chances, generator=self._random).to(y)
        return y


def _are_classes(output: Any, y: Any) -> bool:
    """Return whether a network puts out a number per class, and `y` says which class it is."""
    return (
        isinstance(output, Tensor)
        and isinstance(y, Tensor)
        and not y.is_floating_point()
        and y.dim() == 1
        and output.dim() == 2
        and output.shape[1] > 1
    )
