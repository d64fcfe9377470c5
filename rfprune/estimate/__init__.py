"""Resources and latency of a design: by rule, from generated code, or from a synthesis tool.

`estimate(design, by=NAME)` asks one estimator of the table `ESTIMATORS`; each returns the same
`Estimate`. Listing the table imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rfprune.errors import RfpruneError, WorkError
from rfprune.registry import Entry, Registry

if TYPE_CHECKING:
    from rfprune.estimate.design import Design
    from rfprune.estimate.result import Estimate, LayerEstimate

__all__ = ["ESTIMATORS", "NEEDS_PROJECT", "Estimate", "LayerEstimate", "estimate"]

ESTIMATORS = Registry(
    "estimator",
    {
        "analytic": Entry("rfprune.estimate.analytic:estimate", "rules per layer, milliseconds"),
        "csynth": Entry("rfprune.estimate.csynth:estimate", "Vitis HLS or Vivado HLS on PATH"),
        "codegen": Entry("rfprune.estimate.codegen:estimate", "multipliers in hls4ml's C++"),
        "rule4ml": Entry("rfprune.estimate.rule4ml:estimate", "surrogate (extra 'rule4ml')"),
        "da4ml": Entry("rfprune.estimate.da4ml:estimate", "distributed arithmetic (extra 'da4ml')"),
    },
)


#: Estimators that read or synthesise an hls4ml project; the others see the design alone.
NEEDS_PROJECT = frozenset({"codegen", "csynth", "da4ml"})


def __getattr__(name: str) -> object:
    if name in ("Estimate", "LayerEstimate"):
        from rfprune.estimate import result

        return getattr(result, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def estimate(design: Design, by: str = "analytic", project: Path | None = None) -> Estimate:
    """Return what estimator `by` says about `design`.

    Args:
        design: layers and hardware.
        by: a name in `ESTIMATORS`.
        project: folder of the hls4ml project, for the estimators that read or synthesise one.

    Raises:
        UnknownNameError: no such estimator; names the nearest.
        MissingExtraError: the estimator needs a package or program that is not installed.
        WorkError: an estimator of the user's own raised, or returned something else.
    """
    function = ESTIMATORS.load(by)
    if by in ESTIMATORS:
        found = function(design, project) if by in NEEDS_PROJECT else function(design)
        return cast("Estimate", found)
    return _of_the_user(by, function, design)


def _of_the_user(by: str, function: Callable[..., Any], design: Design) -> Estimate:
    from rfprune.estimate.result import Estimate

    try:
        found = function(design)
    except RfpruneError:
        raise
    except Exception as error:
        raise WorkError(f"estimator '{by}' failed: {type(error).__name__}: {error}.") from error
    if not isinstance(found, Estimate):
        raise WorkError(
            f"estimator '{by}' returned a {type(found).__name__}, not a rfprune.estimate.Estimate."
        )
    return found
