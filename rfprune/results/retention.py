"""Which files of a sweep may go: checkpoints that are not on the front, and scratch folders.

What the front shows can always be exported; the records of all steps stay, so that front, tables
and MLflow are the same afterwards. A point that others beat today is beaten tomorrow, too: more
trials add points and take none away.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rfprune.errors import RunsError
from rfprune.results.folders import SweepFolder, TrialFolder
from rfprune.results.front import read_front

__all__ = ["Keep", "Surplus", "find_surplus", "remove"]

#: What stays: the front's checkpoints, the last one of every trial as well, or all.
Keep = Literal["front", "last", "all"]

#: Folders of a trial that only its running needs.
_SCRATCH = ("hls",)


@dataclass(frozen=True)
class Surplus:
    """What may go.

    Example::

        found = rfprune.clean("mine", agreed=lambda surplus: False)  # only says it
        found.n_bytes, len(found.paths)

    Attributes:
        checkpoints: files and folders that belong to steps off the front.
        scratch: folders that only a running trial needs.
        n_trials: how many trials they are of.
        n_bytes: what they take on the disk, in bytes.
    """

    checkpoints: tuple[Path, ...]
    scratch: tuple[Path, ...]
    n_trials: int
    n_bytes: int

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.checkpoints, *self.scratch)


def find_surplus(sweep: SweepFolder, keep: Keep) -> Surplus:
    """Return what of a sweep's finished trials may go; damaged and unfinished ones are left alone.

    Raises:
        RunsError: the folder is not a sweep, or cannot be read.
    """
    front = read_front(sweep)
    # The dense network is shown beside the front, and may be exported as well.
    kept = {(point.trial, point.step) for point in (*front.points, *front.shown)}
    checkpoints: list[Path] = []
    scratch: list[Path] = []
    numbers: set[int] = set()
    for view in front.view.trials:
        if view.state == "running":
            continue
        trial = sweep.trial(view.number)
        trial.refuse_links_out()
        steps = [candidate.step for candidate in view.candidates]
        # A failed trial may be tried again, from its last accepted step.
        last = steps[-1:] if keep == "last" or view.state == "failed" else []
        gone = [step for step in steps if (view.number, step) not in kept and step not in last]
        found = [] if keep == "all" else [p for step in gone for p in _files_of(trial, step)]
        left = [path for name in _SCRATCH if (path := trial.path / name).is_dir()]
        checkpoints += found
        scratch += left
        if found or left:
            numbers.add(view.number)
    paths = [*checkpoints, *scratch]
    n_bytes = sum(size for path in paths for size in _sizes(path))
    return Surplus(tuple(checkpoints), tuple(scratch), len(numbers), n_bytes)


def remove(paths: Sequence[Path]) -> None:
    """Remove files and folders.

    Raises:
        RunsError: one cannot be removed; names it. Those before it are gone.
    """
    for path in paths:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as error:
            raise RunsError(f"{path}: cannot be removed ({error.strerror}).") from error


def _files_of(trial: TrialFolder, step: int) -> Iterator[Path]:
    agent = trial.path / "agent" / f"{step:03d}"
    return (path for path in (trial.checkpoint(step), agent) if path.exists())


def _sizes(path: Path) -> Iterator[int]:
    if path.is_dir():
        yield from (inner.lstat().st_size for inner in path.rglob("*") if not inner.is_dir())
    else:
        yield path.lstat().st_size
