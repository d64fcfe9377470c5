"""What several devices have learned, as one state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["federate"]


def federate(
    folder: str | Path,
    states: Sequence[str | Path],
    out: str | Path,
    *,
    since: str | Path | None = None,
) -> dict[str, Any]:
    """Average what several devices have learned with one adaptive model.

    Devices share how far their table of levels was off, per condition and level, and how many
    batches say so: no rows, outputs or labels. As ``rfprune federate`` does::

        rfprune.federate("adaptive", ["a/state.json", "b/state.json"], "state.json")

    Args:
        folder: that ``rfprune.adapt(..., onnx=True)`` wrote.
        states: files ``state.json``, one of each device.
        out: the file to write, which each device may continue from.
        since: the merged state that all of them continued from, if there is one.

    Returns:
        The state.

    Raises:
        RunsError: a state is missing, damaged, or was learned from another table.
    """
    from rfprune.edge.adaptive.federation import federate as merge

    paths = [Path(state) for state in states]
    return merge(Path(folder), paths, Path(out), None if since is None else Path(since))
