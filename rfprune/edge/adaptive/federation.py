"""What several devices have learned, averaged: nothing but the corrections leaves a device.

Each device runs ``runner.py`` with the same ``controller.json`` and learns how far its table is off
where it works. Their states are averaged by the number of batches behind each entry (federated
averaging: McMahan et al., AISTATS 2017, arXiv 1602.05629, of a table in place of a network).

What is shared: for every condition and level the number of batches and the mean corrections of
accuracy, time and energy. No rows, outputs or labels. Nothing more is claimed: these means are
neither encrypted nor noised, and a state of a few batches tells about these batches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.core.files import read_json, write_json
from rfprune.errors import RunsError

__all__ = ["federate"]

#: What is averaged, by what the runner calls it; the rest is where one device stands.
_OF_LEVELS = ("ratio", "ms")


def federate(
    folder: Path, states: Sequence[Path], out: Path, since: Path | None = None
) -> dict[str, Any]:
    """Average the states of devices into one that each of them may continue from, and write it.

    Args:
        folder: with the ``controller.json`` that all devices run.
        states: files ``state.json``, one of each device.
        out: the file to write.
        since: the state that all of them continued from, whose batches count once and not once for
            each device; None = they began with the table.

    Returns:
        The state.

    Raises:
        RunsError: no state, or one that is damaged or was learned from another table.
    """
    table = read_json(folder / "controller.json")
    if not states:
        raise RunsError("federate: needs the states of at least one device.")
    before = None if since is None else _read(since, table)
    merged = _averaged([_read(path, table) for path in states], before, table)
    write_json(out, {"table": table["digest"], "state": merged})
    return merged


def _read(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Return the state in a file.

    Raises:
        RunsError: it is missing, damaged, or of another table.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        state: dict[str, Any] = found["state"]
        shape = np.shape(table["accuracy"])
        fits = all(np.shape(state[name]) == shape for name in ("shift", "seen"))
        fits = fits and all(np.shape(state[name]) == shape[1:] for name in _OF_LEVELS)
        finite = all(np.isfinite(state[n]).all() for n in ("shift", "seen", *_OF_LEVELS))
        own = found["table"] == table["digest"]
    except OSError as error:
        raise RunsError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RunsError(f"{path}: is not a state of a runner ({error!r}).") from None
    if not own:
        raise RunsError(
            f"{path}: was learned from another controller.json than that of the folder."
        )
    if not (fits and finite and np.min(state["seen"]) >= 0):
        raise RunsError(
            f"{path}: is not a state of a runner (its tables have other shapes or values)."
        )
    return state


def _averaged(
    states: Sequence[dict[str, Any]], before: dict[str, Any] | None, table: dict[str, Any]
) -> dict[str, Any]:
    """Return the mean of states, every entry by the batches behind it."""
    limits = table["limits"]
    start = _start(table) if before is None else before
    seen = [np.asarray(state["seen"], dtype=float) for state in states]
    common = np.asarray(start["seen"], dtype=float)
    # What a device has seen beyond the common start; a state that was reset counts for nothing.
    own = [np.maximum(each - common, 0.0) for each in seen]
    shift = _mean([np.array(s["shift"]) for s in states], own, np.array(start["shift"]), common)
    merged: dict[str, Any] = {
        "shift": np.clip(shift, -limits["shift"], limits["shift"]).tolist(),
        "seen": (common + sum(own)).tolist(),
    }
    for name in _OF_LEVELS:
        values = [np.array(state[name]) for state in states]
        counts = [each.sum(axis=0) for each in own]
        mean = _mean(values, counts, np.array(start[name]), common.sum(axis=0))
        merged[name] = mean.tolist()
    batches = start["batches"] + sum(max(s["batches"] - start["batches"], 0) for s in states)
    # Where a device stands between two levels is its own affair.
    return {**merged, "batches": batches, "level": None, "wanted": None, "held": 0}


def _start(table: dict[str, Any]) -> dict[str, Any]:
    zeros = np.zeros(np.shape(table["accuracy"]))
    ratio = np.ones(zeros.shape[1])
    return {"shift": zeros, "seen": zeros, "ratio": ratio, "ms": table["ms"], "batches": 0}


def _mean(
    values: Sequence[FloatArray], counts: Sequence[FloatArray], start: FloatArray, of: FloatArray
) -> FloatArray:
    """Return the mean of values by what each has added to a common start of weight `of`.

    A device's value is a mean over the start's batches and its own: ``v_k (n + m_k) = s n + own``,
    and so the mean of all is ``(s n + sum_k (v_k (n + m_k) - s n)) / (n + sum_k m_k)``.
    """
    added = sum((v * (of + m) - start * of for v, m in zip(values, counts, strict=True)), 0.0)
    total = of + sum(counts, np.zeros_like(of))
    found = np.where(total > 0, (start * of + added) / np.maximum(total, 1e-12), start)
    return np.asarray(found)
