"""Values of the monitor, with where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Origin", "Reading", "Readings"]

Origin = Literal["measured", "estimated"]


@dataclass(frozen=True)
class Reading:
    """A value, its unit, and what it is worth.

    Attributes:
        value: the number.
        unit: ``mW``, ``mJ`` (per image), ``s``, or ``1`` of a share.
        source: the counter that was read, or the device profile that it was computed from.
        kind: ``measured`` only if a counter of the machine was read.
    """

    value: float
    unit: str
    source: str
    kind: Origin

    def __str__(self) -> str:
        return f"{self.value:.4g} {self.unit} ({self.kind}: {self.source})"


@dataclass(frozen=True)
class Readings:
    """What one image takes.

    Attributes:
        time: of one image, in s.
        energy: of one image while it is computed, in mJ.
        power: mean over the time between two images, in mW.
        idle_share: part of the energy that the idle device would have used in the same time.
    """

    time: Reading
    energy: Reading
    power: Reading
    idle_share: Reading
