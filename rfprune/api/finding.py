"""What a user names: a sweep file, a run, a shipped sweep; and the run folder that goes with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfprune.core.registry import nearest
from rfprune.core.shipped import shipped
from rfprune.errors import InputError, RunsError, SpecError, WorkError
from rfprune.results import SweepFolder, find_sweep
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import apply_override, parse_spec, read_yaml

__all__ = [
    "SweepFile",
    "check_writable",
    "naming",
    "open_sweep",
    "read_sweep_file",
    "read_sweep_values",
    "run_folder",
    "writing",
]


def check_writable(folder: Path) -> None:
    """Refuse a run folder that could not be made, before any work is done for it.

    Raises:
        RunsError: a part of its path is a file, or permission is denied.
    """
    place = folder
    # What exists of the path decides: the rest of it would be made.
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise RunsError(f"{folder}: cannot be created: {place} is not a folder.")
    if not os.access(place, os.W_OK):
        raise RunsError(f"{folder}: cannot be created: permission denied for {place}.")


@contextmanager
def naming(source: str, name: str) -> Iterator[None]:
    """Let errors in the input name the file `source` in place of the sweep's `name`."""
    try:
        yield
    except InputError as error:
        text = str(error)
        if source not in text:
            error.args = (f"{source}: {text.removeprefix(f'{name}: ')}",)
        raise


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Name the run folder where the system does not say which file cannot be written.

    Raises:
        WorkError: the disk is full, or the like.
    """
    try:
        yield
    except OSError as error:
        # With a file name the command line's own message is good enough. Writing to an open file
        # gives none, and that is where a full disk shows.
        if error.filename is not None:
            raise
        raise WorkError(
            f"{folder}: cannot be written ({error.strerror or error}). Finished work is kept; run "
            "the same command to resume."
        ) from error


@dataclass(frozen=True)
class SweepFile:
    """A sweep that a user named.

    Attributes:
        spec: the sweep.
        folder: its run folder, which need not exist yet.
        base_dir: folder that relative paths in the sweep refer to.
        source: the file, for messages.
    """

    spec: SweepSpec
    folder: SweepFolder
    base_dir: Path
    source: str


def read_sweep_file(name: str, runs: Path, overrides: list[str] | None = None) -> SweepFile:
    """Return the sweep that `name` stands for: a file, a run under `runs`, or a shipped sweep.

    Raises:
        SpecError: nothing has that name, or the file is wrong.
    """
    values, base_dir, path = read_sweep_values(name, runs)
    own_name = values.get("name")
    # Before the spec is made, so that an override is checked like any other value.
    for text in overrides or []:
        apply_override(values, text, SweepSpec)
    spec = parse_spec(SweepSpec, values, str(path))
    folder = run_folder(path, own_name, spec.name, runs)
    return SweepFile(spec, SweepFolder(folder), base_dir, str(path))


def run_folder(path: Path | None, own_name: str | None, name: str, runs: Path) -> Path:
    """Return the run folder of a sweep.

    Args:
        path: the file that its values were read from, if any.
        own_name: its name there.
        name: its name now.
        runs: folder of all runs.
    """
    # A run folder that was renamed is still the run that it holds.
    if path is not None and path.name == "sweep.json" and name == own_name:
        return path.parent
    return runs / name


def read_sweep_values(name: str, runs: Path) -> tuple[dict[str, Any], Path, Path]:
    """Return the plain values of the sweep that `name` stands for, their folder, and their file.

    Raises:
        SpecError: nothing has that name, or the file is not a sweep file.
    """
    path = _find(name, runs)
    # A recorded sweep holds every default written out, and says where its paths count from.
    if path.name == "sweep.json":
        facts = SweepFolder(path.parent).facts()
        return facts["spec"], Path(facts.get("base_dir", ".")), path
    values = read_yaml(path)
    # A sweep file has at least one key that a trial file lacks, `search` for instance.
    if set(values) <= set(TrialSpec.model_fields):
        raise SpecError(f"{path}: is a trial file, without a search. Use: rfprune prune {path}")
    values.setdefault("name", path.stem)
    return values, path.parent.resolve(), path


def _find(name: str, runs: Path) -> Path:
    path = Path(name)
    if path.suffix in (".yml", ".yaml") or path.is_file():
        return path
    recorded = runs / name / "sweep.json"
    builtin = shipped("sweeps") / f"{name}.yml"
    # What has run goes first: its recorded spec, not today's file of that name, made its trials.
    for place in (recorded, path / "sweep.json", builtin):
        if place.is_file():
            return place
    if path.is_dir():
        raise SpecError(f"{name}: is a folder. Allowed: a sweep file, or the name of a sweep.")
    known = sorted(
        {p.stem for p in shipped("sweeps").glob("*.yml")}
        | {p.parent.name for p in runs.glob("*/sweep.json")}
    )
    raise SpecError(
        f"'{name}' is neither a sweep file nor a sweep under {runs} nor a shipped sweep."
        f"{nearest(name, known)} Known: {', '.join(known)}."
    )


def open_sweep(name: str, runs: Path) -> SweepFolder:
    """Return the run folder of a sweep that has run; `name` may also be its file.

    Raises:
        RunsError: it has not run.
    """
    path = Path(name)
    if path.suffix in (".yml", ".yaml") or path.is_file():
        return find_sweep(runs, read_sweep_file(name, runs).spec.name)
    if (path / "sweep.json").exists():
        return find_sweep(path.parent, path.name)
    return find_sweep(runs, name)
