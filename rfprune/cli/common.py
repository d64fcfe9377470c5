"""What several verbs share: options, where files and runs are, the consoles."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape as glob_escape
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfprune.errors import InputError, RunsError, SpecError, WorkError
from rfprune.shipped import shipped

if TYPE_CHECKING:
    from rich.console import Console

    from rfprune.runs import SweepFolder
    from rfprune.spec import SweepSpec

__all__ = [
    "JsonOption",
    "RunsOption",
    "SetOption",
    "SweepArgument",
    "Target",
    "check_writable",
    "commands",
    "naming",
    "note",
    "open_sweep",
    "print_json",
    "read_sweep_file",
    "runs_option",
    "say",
    "stderr",
    "stdout",
    "writing",
]


def _sweeps(incomplete: str) -> list[str]:
    """Return what a shell offers for a sweep: files and folders here, runs, and shipped sweeps."""
    files = [path for path in glob(f"{glob_escape(incomplete)}*") if _may_hold_a_sweep(path)]
    runs = [path.parent.name for path in Path("runs").glob("*/sweep.json")]
    names = [*runs, *(path.stem for path in shipped("sweeps").glob("*.yml"))]
    return sorted({*files, *(name for name in names if name.startswith(incomplete))})


def _may_hold_a_sweep(path: str) -> bool:
    return path.endswith((".yml", ".yaml")) or os.path.isdir(path)


SweepArgument = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep file, or the name of a sweep that has run or is shipped.",
        show_default=False,
        autocompletion=_sweeps,
    ),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds all runs.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the file, e.g. train.epochs=5; repeatable.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def stdout() -> Console:
    """Return the console for results."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def stderr() -> Console:
    """Return the console for progress and notes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str, console: Console | None = None) -> None:
    """Print prose: wrapped between words on a terminal, one line per line elsewhere."""
    console = console or stdout()
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def note(text: str, console: Console | None = None) -> None:
    """Print something that the user should know, but need not act on."""
    from rich.text import Text

    console = console or stdout()
    line = Text.assemble(("Note: ", "yellow"), text)
    console.print(line, soft_wrap=not console.is_terminal)


def commands(lines: Sequence[str]) -> None:
    """Print the next commands to type, each on one line, to be copied as a whole."""
    stdout().print(
        "\nNext:", *(f"  {line}" for line in lines), sep="\n", markup=False, soft_wrap=True
    )


def runs_option(runs: Path) -> str:
    """Return `runs` as it is typed after a command; nothing where it is the default."""
    return "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"


def check_writable(folder: Path) -> None:
    """Refuse a run folder that could not be made, before any work is done for it.

    Raises:
        RunsError: a part of its path is a file, or may not be written.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise RunsError(f"{folder}: cannot be made: {place} is no folder.")
    if not os.access(place, os.W_OK):
        raise RunsError(f"{folder}: cannot be made: {place} may not be written.")


@contextmanager
def naming(source: str, name: str) -> Iterator[None]:
    """Let faults of the input name the file `source` in place of the sweep's `name`."""
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
        WorkError: no room is left, or the like.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise WorkError(
            f"{folder}: cannot be written ({error.strerror or error}). What is finished is kept; "
            "the same command goes on from there."
        ) from error


def print_json(value: Any) -> None:
    """Print one JSON object on stdout, without colours or wrapping."""
    import json

    typer.echo(json.dumps(value, indent=1, allow_nan=False))


@dataclass(frozen=True)
class Target:
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


def read_sweep_file(name: str, runs: Path, overrides: list[str] | None = None) -> Target:
    """Return the sweep that `name` stands for: a file, a run under `runs`, or a shipped sweep.

    Raises:
        SpecError: nothing of that name, or the file is wrong.
    """
    from rfprune.runs import SweepFolder
    from rfprune.spec import SweepSpec, TrialSpec
    from rfprune.spec.files import apply_override, parse_spec, read_yaml

    path = _find(name, runs)
    recorded = path.name == "sweep.json"
    if recorded:
        facts = SweepFolder(path.parent).facts()
        values, base_dir = facts["spec"], Path(facts.get("base_dir", "."))
    else:
        values, base_dir = read_yaml(path), path.parent.resolve()
        if set(values) <= set(TrialSpec.model_fields):
            raise SpecError(f"{path}: is a trial file, without a search. Use: rfprune prune {path}")
        values.setdefault("name", path.stem)
    own_name = values.get("name")
    for text in overrides or []:
        apply_override(values, text, SweepSpec)
    spec = parse_spec(SweepSpec, values, str(path))
    # A run folder that was renamed is still the run that it holds.
    folder = path.parent if recorded and spec.name == own_name else runs / spec.name
    return Target(spec, SweepFolder(folder), base_dir, str(path))


def _find(name: str, runs: Path) -> Path:
    from rfprune.registry import nearest

    path = Path(name)
    if path.suffix in (".yml", ".yaml") or path.is_file():
        return path
    recorded = runs / name / "sweep.json"
    builtin = shipped("sweeps") / f"{name}.yml"
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
        f"'{name}' is no sweep file, no sweep under {runs}, and no shipped sweep."
        f"{nearest(name, known)} Known: {', '.join(known)}."
    )


def open_sweep(name: str, runs: Path) -> SweepFolder:
    """Return the run folder of a sweep that has run; `name` may also be its file.

    Raises:
        RunsError: it has not run.
    """
    from rfprune.runs import find_sweep

    path = Path(name)
    if path.suffix in (".yml", ".yaml") or path.is_file():
        return find_sweep(runs, read_sweep_file(name, runs).spec.name)
    if (path / "sweep.json").exists():
        return find_sweep(path.parent, path.name)
    return find_sweep(runs, name)
