"""Keys of files that came after version 0.1."""

from __future__ import annotations

from typing import Any

from pydantic import Field

__all__ = ["added"]


def added(default: Any, **about: Any) -> Any:
    """Return the field of a key that is written only where it is set.

    A trial and a dense network are named by the hash of their whole file. Those of version 0.1
    keep their names, and are found again, if a key that it did not have is left out at its default.

    Args:
        default: of the key.
        about: what `pydantic.Field` takes besides.
    """
    return Field(default, exclude_if=lambda value: value == default, **about)
