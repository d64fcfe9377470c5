"""Intervals that hold the truth in nine of ten designs of other people.

Made from the errors on published reports of sources that the rules were not fitted on: split
conformal prediction (Vovk, Gammerman, Shafer 2005; Lei et al. 2018) in which a whole source is left
out at a time, as designs of one project are alike. The score of a report is its absolute log error
over the typical one of its family (mean over sources, drawn towards that of all families where a
family has few), so that a family with exact rules gets a narrow interval and a new one a wide one.

Where weights are not known, a dense layer is estimated, and weights can only be missing: above its
value the interval ends where it would if they were known, below it is as wide as the errors of
designs whose weights were hidden.
``python -m benchmarks.estimates.conformal`` writes ``intervals.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.families import beyond, family, features

__all__ = [
    "INTERVALS_FILE",
    "LEVEL",
    "OFFSETS",
    "UNLIKE_FACTOR",
    "Likeness",
    "compare",
    "interval",
    "likeness",
    "population",
    "scale_of",
]

INTERVALS_FILE = Path(__file__).with_name("intervals.json")
#: Share of designs whose truth an interval holds.
LEVEL = 0.9
#: Added to both sides before they are compared, so that 0 and 1 are close.
OFFSETS: dict[str, float] = {
    **{f"{kind}_dsp": 2.0 for kind in ("hls", "synthesis")},
    **{f"{kind}_bram18": 2.0 for kind in ("hls", "synthesis")},
    **{f"{kind}_lut": 50.0 for kind in ("hls", "synthesis")},
    **{f"{kind}_ff": 50.0 for kind in ("hls", "synthesis")},
    "latency_cycles": 2.0,
    "ii_cycles": 1.0,
    "hls_clock_ns": 0.5,
}
#: How much wider an interval is for each way in which a design is unlike its family, at most twice.
#: Set by hand; what is shown of the intervals includes it.
UNLIKE_FACTOR, _MOST_UNLIKE = 1.25, 2.0
#: Sources that the error of all families counts as, beside those of a family.
_PRIOR_SOURCES = 2.0
#: Least typical error, and as a part of that of all families: no rule is known better than this.
_LEAST_SCALE, _LEAST_SHARE = 0.01, 0.25


#: An interval up to more than ten times the value is of no use.
_MOST_FACTOR = 10.0
#: How families name layers whose weights are not known, and what they are called if they are.
_UNKNOWN, _KNOWN = "unknown constant weights", "constant weights"


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(INTERVALS_FILE.read_text(encoding="utf-8"))
    return table


@dataclass(frozen=True)
class Likeness:
    """How a design compares with those whose reports are known.

    Attributes:
        family: its family.
        sources: projects and studies of that family.
        unlike: in what it lies outside of them, in words; empty if it does not.
        dense: where weights are not known: how it compares if they are, and none is 0.
    """

    family: str
    sources: int
    unlike: tuple[str, ...]
    dense: Likeness | None = None

    @property
    def note(self) -> str:
        """One sentence for the reader of an estimate."""
        percent = f"{LEVEL:.0%}".replace("%", " %")
        if not self.sources:
            return f"Intervals ({percent}) are wide: no design like this is known: {self.family}."
        if self.unlike:
            return (
                f"Intervals ({percent}) are wider: no design like this is known: {self.family}, "
                f"{', '.join(self.unlike)}."
            )
        plural = "source" if self.sources == 1 else "sources"
        return f"Intervals hold {percent} of designs: {self.family} ({self.sources} {plural})."


def likeness(design: Design, table: Mapping[str, Any] | None = None) -> Likeness:
    """Return how a design compares with those that `table` (or ``intervals.json``) was made of."""
    return compare(family(design), features(design), table or _table())


def compare(name: str, found: Mapping[str, float], table: Mapping[str, Any]) -> Likeness:
    """Return how a design of family `name` with the features `found` compares with a table's."""
    dense = None
    if _UNKNOWN in name and "known" in table:
        dense = compare(name.replace(_UNKNOWN, _KNOWN), found, table)
    known = table[population(name)]["known"].get(name)
    if known is None:
        return Likeness(name, 0, (), dense)
    return Likeness(name, known["sources"], beyond(found, known["features"]), dense)


def population(name: str) -> str:
    """Return whether the weights of a family are known: the two are calibrated apart."""
    return "known" if "unknown" not in name and "no weights" not in name else "unknown"


def scale_of(found: Mapping[str, Any], alike: Likeness) -> float:
    """Return the typical log error of a quantity on designs like this one.

    Args:
        found: of the quantity: ``all``, the mean error of all sources, and ``families``, the sum of
            errors and number of sources of each.
        alike: the design's.
    """
    own = found["families"].get(alike.family, {"sum": 0.0, "sources": 0})
    # A family of one source is drawn towards all: its errors may be luck.
    scale = (_PRIOR_SOURCES * found["all"] + own["sum"]) / (_PRIOR_SOURCES + own["sources"])
    ways = len(alike.unlike) + (alike.sources == 0)
    wider = min(UNLIKE_FACTOR**ways, _MOST_UNLIKE)
    return float(wider * max(scale, _LEAST_SHARE * found["all"], _LEAST_SCALE))


def interval(
    quantity: str,
    value: float,
    alike: Likeness,
    level: float = LEVEL,
    table: Mapping[str, Any] | None = None,
    useful: bool = True,
) -> tuple[float, float] | None:
    """Return (low, high) of a predicted quantity.

    None where no error of it is known, or where it would be so wide that it said nothing.

    Args:
        quantity: with its kind, e.g. ``hls_lut``.
        value: predicted.
        alike: the design's.
        level: 0.5, 0.8 or 0.9.
        table: made by the benchmark; ``intervals.json`` if None.
        useful: leave out intervals that say nothing.
    """
    table = table or _table()
    below = _factor(quantity, alike, level, table)
    if below is None:
        return None
    above = below
    # Missing weights change the longest path either way.
    if alike.dense is not None and quantity != "hls_clock_ns":
        above = min(below, _factor(quantity, alike.dense, level, table) or below)
    # No interval is better than a useless one.
    if useful and above > _MOST_FACTOR:
        return None
    offset = OFFSETS[quantity]
    return max((value + offset) / below - offset, 0.0), (value + offset) * above - offset


def _factor(quantity: str, alike: Likeness, level: float, table: Mapping[str, Any]) -> float | None:
    found = table[population(alike.family)]["quantities"].get(quantity)
    if found is None:
        return None
    # Beyond e^50 there is nothing to be said, and `exp` would overflow.
    return math.exp(min(found["scores"][f"{level:g}"] * scale_of(found, alike), 50.0))
