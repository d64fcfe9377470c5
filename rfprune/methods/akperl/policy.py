"""A learned policy: input statistics in, a level for every layer out. Runs on numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.core.value_files import read_values, write_values
from rfprune.errors import DataError, RunsError
from rfprune.methods.akperl.state import StateEncoder

__all__ = ["Policy", "Weights"]

KIND = "rfprune.policy/1"
FloatArray32 = NDArray[np.float32]
#: (weight (out, in), bias (out,)) of each linear layer; ReLU between them.
Weights = tuple[tuple[FloatArray32, FloatArray32], ...]


@dataclass(frozen=True)
class Policy:
    """The greedy policy of a Q-network.

    At run time there are no labels, so accuracy and power in the state are those that were measured
    while learning, under the condition whose statistics are nearest to the input's.

    Attributes:
        state: how states are written.
        weights: of the Q-network.
        conditions: (C, F) input statistics of each condition, standardised.
        readings: (C, L + 1, 2) accuracy and power (share of dense) along the policy's own path.
        best_choice: (C, L) the best decisions that were ever measured under each condition, those
            of exploration among them: for a pruning that does not change any more.
        shortlist: (K, L) the best decisions under the first condition, best first.
        found: weights that a target led to, by name; empty where the file gave them.
        meets_target: whether every condition meets the target; None without a target.
    """

    state: StateEncoder
    weights: Weights
    conditions: FloatArray
    readings: FloatArray
    best_choice: IntArray
    shortlist: IntArray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    found: Mapping[str, float] = field(default_factory=dict)
    meets_target: bool | None = None

    def values(self, states: FloatArray32) -> FloatArray32:
        """Return (..., A) the Q-values of states (..., D); -inf for levels that are not allowed."""
        hidden = states
        for weight, bias in self.weights[:-1]:
            hidden = np.maximum(hidden @ weight.T + bias, 0.0)
        weight, bias = self.weights[-1]
        allowed = states[..., -len(self.state.levels) :] > 0.5
        return np.where(allowed, hidden @ weight.T + bias, -np.inf).astype(np.float32)

    def choose(self, features: FloatArray, allowed: BoolArray | None = None) -> IntArray:
        """Return (L,) the index of the level of each layer; arguments and errors as `propose`."""
        return self.propose(features, 1, allowed)[0]

    def propose(
        self, features: FloatArray, most: int, allowed: BoolArray | None = None
    ) -> list[IntArray]:
        """Return up to `most` decisions (L,), the one of the largest Q-value first (beam search).

        Args:
            features: (F,) statistics of the input.
            most: sequences that the search goes on with after every layer.
            allowed: (L, A) levels that may be chosen now, e.g. within a power budget; those of the
                task if not given.

        Raises:
            DataError: another number of statistics than it was learned with, or a layer without an
                allowed level.
        """
        if np.shape(features) != self.state.mean.shape:
            raise DataError(
                f"features: has the shape {np.shape(features)}, the policy was learned with "
                f"{self.state.mean.shape}."
            )
        shown = self.state.standardised(np.asarray(features, dtype=float))
        # The condition that the statistics resemble most: its readings stand in for measurements.
        nearest = int(np.argmin(((self.conditions - shown) ** 2).sum(axis=1)))
        readings = self.readings[nearest]
        open_levels = self.state.allowed if allowed is None else self.state.allowed & allowed
        beam = np.zeros((1, len(self.state.layers)), dtype=np.int64)
        for index, row in enumerate(open_levels):
            if not row.any():
                raise DataError(f"layer '{self.state.layers[index]}': no level is allowed.")
            accuracy, power = map(float, readings[index])
            write = self.state.write
            states = [write(shown, choice, index, accuracy, power, row) for choice in beam]
            values = self.values(np.stack(states))
            best = np.argsort(-values, axis=None, kind="stable")
            rows, levels = np.unravel_index(
                best[: min(most, int(np.isfinite(values).sum()))], values.shape
            )
            beam = beam[rows]
            beam[:, index] = levels
        return list(beam)

    def levels(self, features: FloatArray, allowed: BoolArray | None = None) -> FloatArray:
        """Return (L,) the fraction to prune of each layer; arguments and errors as `choose`."""
        return np.asarray(self.state.levels[self.choose(features, allowed)])

    def as_values(self) -> dict[str, Any]:
        """Return plain values and arrays, for a file."""
        return {
            "state": self.state.as_tensors(),
            "weights": [list(pair) for pair in self.weights],
            "conditions": self.conditions,
            "readings": self.readings,
            "best_choice": self.best_choice,
            "shortlist": self.shortlist,
            "found": dict(self.found),
            "meets_target": self.meets_target,
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Policy:
        """Return the policy that `as_values` wrote.

        Raises:
            KeyError, TypeError, ValueError: a value is missing or of the wrong kind.
        """
        rest = dict(values)
        state = StateEncoder.from_values(rest.pop("state"))
        weights = tuple((weight, bias) for weight, bias in rest.pop("weights"))
        return cls(state=state, weights=weights, **rest)

    def save(self, path: Path) -> None:
        """Write the policy as one file of tensors and plain values."""
        write_values(path, KIND, self.as_values())

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy; a file of unknown origin cannot run code.

        Raises:
            RunsError: no such file, or no intact policy.
        """
        values = read_values(path, KIND)
        try:
            return cls.from_values(values)
        except (KeyError, TypeError, ValueError) as error:
            raise RunsError(f"{path}: the policy is incomplete ({error!r}).") from error
