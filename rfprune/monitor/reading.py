"""One value of the monitor, with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Reading"]

Kind = Literal["measured", "estimated"]


@dataclass(frozen=True)
class Reading:
    """A value, its unit, and what it is worth.

    Attributes:
        value: the number.
        unit: ``mW``, ``mJ`` (per image) or ``s``.
        source: the counter that was read, or the device profile that it was computed from.
        kind: ``measured`` only if a counter of the machine was read.
    """

    value: float
    unit: str
    source: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.value:.4g} {self.unit} ({self.kind}: {self.source})"
