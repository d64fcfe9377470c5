"""Searched paths: which values each may take, and how Optuna is asked for one.

Knows nothing of networks: reuse factors arrive here as a list of values that has been checked.
Listed numbers (reuse factors above all) are drawn by their index, so that a sampler sees neighbours
as neighbours; the study then holds the index, and a trial's user attribute ``values`` the value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FixedTrial, Trial

__all__ = ["Listed", "Numbers", "Parameter", "Scalar"]

Scalar = bool | int | float | str

_SHOWN = 12


@dataclass(frozen=True)
class Listed:
    """One of the listed values; `ordered` if neighbours in the list are alike.

    Attributes:
        path: dotted path in the trial file.
        values: what may be drawn, without repetition.
        ordered: drawn by index (reuse factors and other numbers) instead of by name.
        when: drawn only while each of these paths has one of these values.
        left_out: values that were asked for, and cannot be built.
        of: networks that it belongs to, where others have other values at the same path.
    """

    path: str
    values: tuple[Scalar, ...]
    ordered: bool = False
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    left_out: tuple[Scalar, ...] = ()
    of: str = ""

    @property
    def name(self) -> str:
        """What the study calls it."""
        return _name(self)

    @property
    def kind(self) -> str:
        """What the values are, for tables."""
        return "reuse factors" if self.path.endswith(".reuse_factor") else "choices"

    @property
    def count(self) -> int | None:
        """How many values there are."""
        return len(self.values)

    def contains(self, value: Scalar) -> bool:
        """Return whether `value` can be drawn."""
        return value in self.values

    def samples(self) -> tuple[Scalar, ...]:
        """Return values that stand for all: every one of them."""
        return self.values

    def middle(self) -> Scalar:
        """Return the value in the middle of the list."""
        return self.values[len(self.values) // 2]

    def every(self) -> Iterator[Scalar]:
        """Yield every value."""
        return iter(self.values)

    def at(self, place: float) -> Scalar:
        """Return the value at a place from 0 to 1, 1 left out, of the list."""
        return self.values[int(place * len(self.values))]

    def encode(self, value: Scalar) -> Scalar:
        """Return what the study holds for `value`."""
        # By index: Optuna's integers are neighbours where the values are.
        return self.values.index(value) if self.ordered else value

    def suggest(self, trial: Trial | FixedTrial) -> Scalar:
        """Draw a value."""
        if self.ordered:
            return self.values[trial.suggest_int(self.name, 0, len(self.values) - 1)]
        name = trial.suggest_categorical(self.name, self.values)
        # Our own object: what a storage returns is equal, but may be of another type.
        return self.values[self.values.index(name)]

    def text(self) -> str:
        """Return the values as one line."""
        shown = [str(value) for value in self.values[:_SHOWN]]
        if len(self.values) > _SHOWN:
            shown = [*shown[:-2], "...", str(self.values[-1])]
        return (" " if self.kind == "reuse factors" else ", ").join(shown)


@dataclass(frozen=True)
class Numbers:
    """A number from `low` to `high`; see `rfprune.spec.search.Range`.

    `high` lies on the grid of `step`, so Optuna never has to move it.
    """

    path: str
    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    of: str = ""

    @property
    def name(self) -> str:
        """What the study calls it."""
        return _name(self)

    @staticmethod
    def last_on_grid(low: float, high: float, step: float | None) -> int | float:
        """Return the largest ``low + k * step`` that is at most `high`, in exact decimals."""
        if step is None:
            return high
        # In decimals: 0.1 + 2 * 0.1 is not 0.3 in floats, and the end of a range would be lost.
        start, width = Decimal(str(low)), Decimal(str(step))
        last = start + (Decimal(str(high)) - start) // width * width
        return int(last) if isinstance(low, int) and isinstance(step, int) else float(last)

    @property
    def kind(self) -> str:
        """What the values are, for tables."""
        return "log range" if self.log else "range"

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def count(self) -> int | None:
        """How many values there are; None for a continuum."""
        if self.low == self.high:
            return 1
        step = self.step or (1 if self.whole else None)
        return None if step is None else round((self.high - self.low) / step) + 1

    def contains(self, value: Scalar) -> bool:
        """Return whether `value` can be drawn."""
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return False
        if self.whole and value != int(value):
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def samples(self) -> tuple[Scalar, ...]:
        """Return values that stand for all: both ends and one between them."""
        if self.low == self.high:
            return (self.low,)
        # Not a round fraction of the range, so that a field for whole numbers refuses it.
        inside = self.low + (self.step or (1 if self.whole else 0.381966 * (self.high - self.low)))
        return (self.low, inside, self.high)

    def middle(self) -> Scalar:
        """Return the value in the middle, by ratio if the range is searched by ratios."""
        low, high = float(self.low), float(self.high)
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        step = self.step or (1 if self.whole else None)
        if step is None:
            return middle
        return self.last_on_grid(self.low, middle, step)

    def at(self, place: float) -> Scalar:
        """Return the value at a place from 0 to 1, 1 left out, of the range."""
        if self.count is not None and not self.log:
            # By number, so that all values of a grid are as likely.
            first, step = Decimal(str(self.low)), Decimal(str(self.step or 1))
            value = first + int(place * self.count) * step
            return int(value) if self.whole else float(value)
        low, high = float(self.low), float(self.high)
        inside: float = low * (high / low) ** place if self.log else low + place * (high - low)
        return round(inside) if self.whole else inside

    def every(self) -> Iterator[Scalar]:
        """Yield every value in exact decimals; of a continuum, the values of `samples`."""
        if self.count is None:
            yield from self.samples()
            return
        low, step = Decimal(str(self.low)), Decimal(str(self.step or 1))
        for k in range(self.count):
            yield int(low + k * step) if self.whole else float(low + k * step)

    def encode(self, value: Scalar) -> Scalar:
        """Return what the study holds for `value`."""
        return int(value) if self.whole else float(value)

    def suggest(self, trial: Trial | FixedTrial) -> Scalar:
        """Draw a value."""
        low, high, step = self.low, self.high, self.step
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(self.name, low, high, step=int(step or 1), log=self.log)
        return trial.suggest_float(self.name, low, high, step=step, log=self.log)

    def text(self) -> str:
        """Return the range as one line."""
        step = f" by {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{step}"


Parameter = Listed | Numbers


def _name(parameter: Parameter) -> str:
    # Optuna takes one name with two kinds of values for a fault.
    return f"{parameter.path} of {parameter.of}" if parameter.of else parameter.path
