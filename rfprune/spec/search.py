"""The search space: what a sweep file may say about one dotted path.

Three kinds of entry, told apart by their keys::

    prune.regularizer.weight:         {low: 1e-6, high: 1e-2, log: true}
    hardware.weight_precision:        {choices: ["fixed<16,6>", "fixed<8,2>"]}
    hardware.layers.*.reuse_factor:   {valid: true, low: 2, high: 64}

``valid: true`` stands for every reuse factor that hls4ml keeps for that layer, in order; ``*`` for
every layer of the network that holds weights. ``when`` makes an entry conditional on another path.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from rfprune.spec.base import StrictSpec

__all__ = ["Choices", "Entry", "Range", "ValidReuseFactors"]

Scalar = bool | int | float | str


class _Conditional(StrictSpec):
    when: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="searched only while these paths have these values"
    )


class Range(_Conditional):
    """Numbers from `low` to `high`; whole ones if both ends are whole."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_validator(mode="after")
    def _consistent(self) -> Range:
        low, high, step = self.low, self.high, self.step
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if self.log and low <= 0:
            raise ValueError(f"log needs low > 0, not {low}")
        if step is not None and step <= 0:
            raise ValueError(f"step {step} must be above 0")
        # One value alone is a setting, not a search.
        if step is not None and step > high - low:
            raise ValueError(
                f"step {step} is larger than the range {low} to {high}; "
                f"the largest step that leaves two values is {high - low}"
            )
        if step is not None and self.log:
            raise ValueError("step and log exclude each other; leave one out")
        if step is not None and self.whole and not isinstance(step, int):
            raise ValueError(f"step {step} must be whole, as low and high are")
        return self


class Choices(_Conditional):
    """One of the listed values, without an order."""

    choices: Annotated[list[Scalar], Field(min_length=1)]


class ValidReuseFactors(_Conditional):
    """The reuse factors from `low` to `high` that hls4ml keeps for the layer, in their order.

    Those at which the vendor's tool stops are left out.
    """

    valid: Literal[True]
    low: PositiveInt = 1
    high: PositiveInt | None = None


def _kind(entry: Any) -> str:
    if isinstance(entry, StrictSpec):
        return {"Range": "range", "Choices": "choices"}.get(type(entry).__name__, "valid")
    # By its keys, not by trying all three: a fault then belongs to the kind that was meant.
    keys = entry if isinstance(entry, dict) else {}
    if "valid" in keys:
        return "valid"
    return "choices" if "choices" in keys else "range"


Entry = Annotated[
    Annotated[Range, Tag("range")]
    | Annotated[Choices, Tag("choices")]
    | Annotated[ValidReuseFactors, Tag("valid")],
    Discriminator(_kind),
]
