"""What every file format of rfprune shares: strict, frozen models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Spec", "StrictSpec"]


class Spec(BaseModel):
    """A section of a file: unknown keys are errors, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StrictSpec(Spec):
    """A section whose values have the types of their keys: no ``"5"`` or ``true`` in place of 5."""

    model_config = ConfigDict(strict=True)
