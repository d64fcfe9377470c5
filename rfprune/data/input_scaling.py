"""The scaling of a network's inputs, as it travels with the network: ``(raw - offset) / scale``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rfprune.core.named import Named

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Scaling"]

#: How far a scaled value may move when its raw value is taken to be a whole number.
_WHOLE_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Scaling:
    """What was done to raw rows before a network got them.

    Attributes:
        offset: what is subtracted, broadcastable to a row, by input; the only input has an empty
            name.
        scale: what is divided by afterwards, likewise.
    """

    offset: dict[str, Tensor]
    scale: dict[str, Tensor]

    @classmethod
    def of(cls, offset: Tensor | Named, scale: Tensor | Named) -> Scaling:
        """Return the scaling of a data set's offset and scale."""
        return cls(*(dict(p.parts) if isinstance(p, Named) else {"": p} for p in (offset, scale)))

    def none_like(self) -> tuple[Any, Any]:
        """Return offset and scale that change nothing, of the same inputs."""
        offset = {name: part.new_zeros(part.shape) for name, part in self.offset.items()}
        scale = {name: part.new_ones(part.shape) for name, part in self.scale.items()}
        return tuple(p[""] if "" in p else Named(p) for p in (offset, scale))  # type: ignore[return-value]

    def undone(self) -> Scaling:
        """Return the scaling that gives raw rows for scaled ones."""
        offset = {name: -part / self.scale[name] for name, part in self.offset.items()}
        return Scaling(offset, {name: 1 / part for name, part in self.scale.items()})

    @property
    def is_identity(self) -> bool:
        """Whether scaled rows are the raw rows."""
        shifts = any(bool(part.any()) for part in self.offset.values())
        return not shifts and all(bool((part == 1).all()) for part in self.scale.values())

    def scaled(self, raw: Any) -> Any:
        """Return what the network gets for raw rows: a tensor, or a `Named` of several inputs."""
        return self._each(raw, lambda x, offset, scale: (x - offset) / scale)

    def raw(self, scaled: Any) -> Any:
        """Return the raw rows of scaled ones, to float32; whole numbers come back as such."""

        def back(x: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
            # In double: the way back must not add an error of its own.
            found = (x.double() * scale.double() + offset.double()).float()
            whole = found.round()
            moved = ((whole - offset) / scale - x).abs()
            return whole.where(moved <= _WHOLE_TOLERANCE * x.abs().clamp(min=1.0), found)

        return self._each(scaled, back)

    def _each(self, rows: Any, function: Any) -> Any:
        def of(name: str, x: Tensor) -> Tensor:
            offset, scale = (part[name].to(x.device) for part in (self.offset, self.scale))
            return function(x, offset, scale)  # type: ignore[no-any-return]

        if isinstance(rows, Named):
            return Named({name: of(name, x) for name, x in rows.parts.items()})
        return of("", rows)

    def as_json(self) -> dict[str, Any]:
        """Return ``offset`` and ``scale`` as lists, one number per feature or channel, by input."""
        lists = {
            what: {name: tensor.flatten().tolist() for name, tensor in parts.items()}
            for what, parts in (("offset", self.offset), ("scale", self.scale))
        }
        alone = {what: parts.get("", parts) for what, parts in lists.items()}
        return {"formula": "(raw - offset) / scale", **alone}

    def saved(self) -> dict[str, dict[str, Tensor]]:
        """Return tensors by name, as a saved network holds them."""
        return {"offset": self.offset, "scale": self.scale}

    @classmethod
    def from_saved(cls, saved: Mapping[str, Mapping[str, Tensor]]) -> Scaling:
        """Return what `saved` returned.

        Raises:
            KeyError: something else.
        """
        return cls(dict(saved["offset"]), dict(saved["scale"]))
