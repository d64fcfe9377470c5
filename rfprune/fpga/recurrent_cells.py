"""The steps of a GRU and of an LSTM in the numbers of the hardware.

As ``gru_static`` and ``lstm_static`` of hls4ml 1.3 compute them (``nnet_recurrent.h``): the sums of
both weights in one type that loses nothing, sigmoid and tanh from tables, and what is handed to the
next step in the type of the layer's output. The equations are torch's (`torch.nn.GRU`,
`torch.nn.LSTM`), with the reset gate behind the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfprune.fpga.layers.operators import GRU
from rfprune.fpga.own_arithmetic import TABLE_TYPE, TABLES, ActivationTable, straight, through
from rfprune.hardware.precision import FixedType

__all__ = ["Recurrence"]


class Recurrence(nn.Module):
    """A recurrent layer from the state 0 on; its parameters are handed over, rounded already."""

    def __init__(self, module: Any, gates: FixedType, state: FixedType) -> None:
        """Take the layer, the type of its sums and gates, and the type of its state."""
        super().__init__()
        self._is_gru, self._units = isinstance(module, GRU), int(module.hidden_size)
        self._last = bool(module.last)
        self._gates, self._state = gates, state
        self._sigmoid, self._tanh = (
            ActivationTable(TABLES["sigmoid"]),
            ActivationTable(TABLES["tanh"]),
        )

    def forward(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return (N, units) or (N, T, units) of rows (N, T, features)."""
        weight, bias = parameters["weight_hh_l0"], parameters.get("bias_hh_l0")
        sums = F.linear(x, parameters["weight_ih_l0"], parameters.get("bias_ih_l0"))
        hidden = cell = x.new_zeros(len(x), self._units)
        states = []
        for own in sums.unbind(1):
            recurrent = F.linear(hidden, weight, bias)
            if self._is_gru:
                hidden = self._gru(own, recurrent, hidden)
            else:
                hidden, cell = self._lstm(own, recurrent, cell)
            states.append(hidden)
        return hidden if self._last else torch.stack(states, 1)

    def _gru(self, own: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
        """Return the next state: gates in torch's order, reset, update and new."""
        reset, update = self._sigmoid((own + recurrent)[:, : 2 * self._units]).chunk(2, 1)
        candidate = recurrent[:, 2 * self._units :]
        new = self._tanh(own[:, 2 * self._units :] + _cut_product(reset, candidate, self._gates))
        return through(new * (1 - update) + hidden * update, self._state)

    def _lstm(self, own: Tensor, recurrent: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and cell: gates in torch's order, input, forget, cell, output."""
        enter, forget, new, out = (own + recurrent).chunk(4, 1)
        enter, forget, out = map(self._sigmoid, (enter, forget, out))
        cell = through(self._tanh(new) * enter + cell * forget, self._state)
        return through(out * self._tanh(cell), self._state), cell


def _cut_product(entry: Tensor, x: Tensor, kind: FixedType) -> Tensor:
    """Return an entry of a table times a number of type `kind`, cut off to that type.

    In two parts, as a product of that many bits is none that a double holds.
    """
    held, factor = x.detach(), entry.detach()
    coarse = kind.step * 2.0**TABLE_TYPE.fractional
    upper = (held / coarse).floor() * coarse
    lower = (factor * (held - upper) / kind.step).floor() * kind.step
    value = factor * upper + lower
    if not (torch.is_grad_enabled() and (x.requires_grad or entry.requires_grad)):
        return value
    return straight(entry * x, value)
