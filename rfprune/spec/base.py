"""What every file format of rfprune shares: strict, frozen models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Spec", "StrictSpec"]

#: No size, count or seed of a file is above it; torch and numpy fail on larger ones in their own
#: ways, or ask for memory that no machine has.
_LARGEST = 10**15


class Spec(BaseModel):
    """A section of a file: unknown keys are errors, values never change after reading."""

    # Frozen: a spec is hashed and compared by content. NaN would be unequal to itself.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _within_reason(cls, values: Any) -> Any:
        # Before pydantic converts anything: a number of a thousand digits would only be echoed
        # back.
        for key, value in values.items() if isinstance(values, dict) else ():
            for one in value if isinstance(value, list) else (value,):
                # bool is a subclass of int.
                if isinstance(one, int) and not isinstance(one, bool) and abs(one) > _LARGEST:
                    raise ValueError(
                        f"{key}: a number of {len(str(abs(one)))} digits. Allowed: at most "
                        f"{_LARGEST:.0e}"
                    )
        return values


class StrictSpec(Spec):
    """A section whose values have the types of their keys: no ``"5"`` or ``true`` in place of 5."""

    model_config = ConfigDict(strict=True)
