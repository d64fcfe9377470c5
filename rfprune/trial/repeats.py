"""One trial with several seeds: every step's values become means, with their spread.

The first seed's networks are the ones that are kept for export; the others run in folders below
the trial's. A step is averaged over the seeds that came to it at the same budgets, whether they
accepted it or not.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rfprune.results import StepRecord

__all__ = ["averaged"]

#: What is no number that a mean says something of: it holds if it holds for every seed.
_FLAGS = ("fits",)


def averaged(
    first: Sequence[StepRecord], others: Sequence[Sequence[StepRecord]]
) -> list[StepRecord]:
    """Return the steps of the first seed with the means over all seeds.

    Args:
        first: its steps; steps that are means already are averaged anew from its own values.
        others: steps of each further seed.
    """
    by_step = [{record.step: record for record in steps} for steps in others]
    return [_averaged(record.of_its_network(), by_step) for record in first]


def _averaged(record: StepRecord, others: Sequence[dict[int, StepRecord]]) -> StepRecord:
    same = [record]
    for steps in others:
        other = steps.get(record.step)
        # After a rejected step each seed goes its own way.
        if other is not None and other.fraction == record.fraction:
            same.append(other)
    values, spread = dict(record.values), {}
    for name in record.values:
        found = [v for each in same if (v := each.values.get(name)) is not None]
        # A mean over fewer seeds than the others would not be comparable.
        if len(found) < len(same):
            values[name] = None
        elif name in _FLAGS:
            values[name] = min(found)
        else:
            values[name] = statistics.fmean(found)
            if len(found) > 1:
                spread[name] = statistics.stdev(found)
    return record.model_copy(
        update={
            "values": values,
            "own": record.values,
            "spread": spread,
            "repeats": len(same),
            "constant": any(each.constant for each in same),
        }
    )
