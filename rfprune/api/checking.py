"""What can be known of a sweep before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.api.finding import naming
from rfprune.api.sources import sweep_source
from rfprune.spec import SweepSpec

if TYPE_CHECKING:
    from rfprune.study.outlook import Outlook

__all__ = ["check"]


def check(
    source: str | Path | SweepSpec | Mapping[str, Any] | None = None,
    /,
    *,
    model: Any = None,
    data: Any = None,
    search: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    rehearse: bool = True,
    **sections: Any,
) -> Outlook:
    """Validate a sweep without training; return what it can reach.

    Rows and features, the resolved search space, what the dense network costs at its cheapest and
    most expensive, which budgets can be reached, notes. Nothing is written::

        found = rfprune.check("digits")
        [(row.name, row.low, row.high) for row in found.costs]

    Args:
        source: as of `rfprune.sweep`.
        model: as of `rfprune.sweep`.
        data: as of `rfprune.sweep`.
        search: as of `rfprune.sweep`.
        runs: folder that holds all runs.
        rehearse: convert the untrained network and compare its C++ with torch (seconds).
        sections: any other key of a sweep file.

    Raises:
        InputError: data, network, target, space or budgets are wrong.
    """
    from rfprune.study.outlook import outlook

    keywords = {"model": model, "data": data, "search": search, **sections}
    with sweep_source(source, runs, keywords, "rfprune.check") as found:
        file = found.file
        with naming(file.source, file.spec.name):
            return outlook(file.spec, file.base_dir, rehearse=rehearse)
