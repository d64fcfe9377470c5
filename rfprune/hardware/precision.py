"""Fixed-point types of Vivado/Vitis HLS (``ap_fixed``) and their exact meaning.

``fixed<W,I,Q,O>``: W bits in all, I of them before the binary point (sign included), rounding Q,
overflow O. Source: AMD UG1399, "Arbitrary Precision Fixed-Point Data Types"; spellings as accepted
by hls4ml (`model/types.py`, ``FixedPrecisionType``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfprune.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FixedType"]

_PATTERN = re.compile(r"^(?:ap_|ac_)?(u?)(fixed|int)<([^<>]+)>$")
_ROUNDING = ("TRN", "TRN_ZERO", "RND", "RND_CONV", "RND_ZERO", "RND_INF", "RND_MIN_INF")
_SATURATION = ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM")


@dataclass(frozen=True)
class FixedType:
    """A fixed-point type: `width` bits, `integer` of them before the binary point.

    ``ap_fixed`` defaults hold: rounding TRN (toward minus infinity), overflow WRAP (modulo 2^W).
    """

    width: int
    integer: int
    signed: bool = True
    rounding: str = "TRN"
    saturation: str = "WRAP"

    @classmethod
    def parse(cls, text: str) -> FixedType:
        """Read ``fixed<16,6>``, ``ap_fixed<16,6,RND,SAT>``, ``ufixed<8,0>`` or ``int<8>``.

        Raises:
            SpecError: the text is not a fixed-point type, or its numbers are out of range.
        """
        match = _PATTERN.match(text.replace(" ", "").replace("AP_", ""))
        if match is None:
            raise SpecError(
                f"'{text}' is not a fixed-point type. Allowed: fixed<W,I>, fixed<W,I,RND,SAT>, "
                "ufixed<W,I>, int<W>, uint<W>, e.g. fixed<16,6>."
            )
        unsigned, kind, inner = match.groups()
        fields = inner.split(",")
        try:
            width = int(fields[0])
            integer = width if kind == "int" else int(fields[1])
        except (ValueError, IndexError):
            raise SpecError(
                f"'{text}': width and integer bits must be whole numbers, e.g. fixed<16,6>."
            ) from None
        modes = fields[1:] if kind == "int" else fields[2:]
        return cls._checked(text, width, integer, not unsigned, modes)

    @classmethod
    def _checked(
        cls, text: str, width: int, integer: int, signed: bool, modes: list[str]
    ) -> FixedType:
        if not 1 <= width <= 64:
            raise SpecError(f"'{text}': width {width} is out of range. Allowed: 1 to 64 bits.")
        rounding = modes[0] if modes else "TRN"
        saturation = modes[1] if len(modes) > 1 else "WRAP"
        if rounding not in _ROUNDING:
            raise SpecError(
                f"'{text}': unknown rounding '{rounding}'. Allowed: {', '.join(_ROUNDING)}."
            )
        if saturation not in _SATURATION:
            raise SpecError(
                f"'{text}': unknown overflow '{saturation}'. Allowed: {', '.join(_SATURATION)}."
            )
        return cls(width, integer, signed, rounding, saturation)

    @property
    def fractional(self) -> int:
        """Bits after the binary point; may be negative."""
        return self.width - self.integer

    @property
    def step(self) -> float:
        """Distance of two neighbouring values, 2^-fractional."""
        return float(2.0**-self.fractional)

    @property
    def max(self) -> float:
        """Largest representable value."""
        bits = self.width - int(self.signed)
        return float((2.0**bits - 1) * self.step)

    @property
    def min(self) -> float:
        """Smallest representable value (that SAT_SYM leaves: as far from 0 as the largest)."""
        if self.saturation == "SAT_SYM" and self.signed:
            return -self.max
        return float(-(2.0 ** (self.width - 1)) * self.step) if self.signed else 0.0

    def __str__(self) -> str:
        modes = f",{self.rounding},{self.saturation}"
        tail = "" if (self.rounding, self.saturation) == ("TRN", "WRAP") else modes
        return f"{'' if self.signed else 'u'}fixed<{self.width},{self.integer}{tail}>"

    def quantize(self, x: Tensor) -> Tensor:
        """Return `x` on this type's grid, rounded and wrapped or saturated as the type says.

        Every mode of UG1399; any shape, same dtype.
        """
        code = self._round(x * (1 / self.step))
        low, high = self.min / self.step, self.max / self.step
        if not code.is_cuda and code.numel():
            # Most values are within the type, and looking costs a third of wrapping. On a GPU the
            # answer would have to be waited for.
            least, most = code.detach().aminmax()
            if low <= float(least) and float(most) <= high:
                return code.mul_(self.step)
        if self.saturation == "WRAP":
            # `remainder` by hand: of a power of two it is exact, and takes a quarter of the time.
            span = 2.0**self.width
            code = code.sub_(low)
            code = code.sub_((code * (1 / span)).floor_(), alpha=span).add_(low)
        elif self.saturation == "SAT_ZERO":
            code = code * ((code >= low) & (code <= high))
        else:
            code = code.clamp(low, high)
        return code * self.step

    def _round(self, x: Tensor) -> Tensor:
        """Return `x`, which may be changed, as whole numbers.

        The RND modes differ in where they take halves.
        """
        match self.rounding:
            case "TRN":
                return x.floor_()
            case "TRN_ZERO":
                return x.trunc_()
            case "RND":
                return x.add_(0.5).floor_()
            case "RND_MIN_INF":
                return (x - 0.5).ceil()
            case "RND_ZERO":
                return x.sign() * (x.abs() - 0.5).ceil()
            case "RND_INF":
                return x.sign() * (x.abs() + 0.5).floor()
            case _:
                return x.round()
