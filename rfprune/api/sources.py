"""From the arguments of `rfprune.sweep`, `check` and `prune` to a checked spec.

A source is a file, the name of a run, a spec, a mapping, or nothing; keywords are laid over it as
the keys of a file would be. Objects, arrays and tables among them become files
(`rfprune.api.given`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfprune.api.finding import SweepFile, read_sweep_values, run_folder
from rfprune.api.given import Given, hand_over
from rfprune.errors import SpecError
from rfprune.results import SweepFolder
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import parse_spec, read_yaml

__all__ = ["Source", "TrialSource", "sweep_source", "trial_source"]

#: Sections that a keyword replaces as a whole: half of one and half of another mean nothing.
_WHOLE = ("model", "data", "task", "objectives", "search")


@dataclass(frozen=True)
class TrialSource:
    """One trial that is to be run.

    Attributes:
        spec: the trial.
        home: its run folder.
        given: the objects among its values.
        source: for messages.
    """

    spec: TrialSpec
    home: Path
    given: Given
    source: str


@dataclass(frozen=True)
class Source:
    """A sweep that is to be checked or run.

    Attributes:
        file: the spec, its run folder, and where its names are looked for.
        given: the objects among its values.
    """

    file: SweepFile
    given: Given


@contextlib.contextmanager
def sweep_source(
    source: str | Path | SweepSpec | Mapping[str, Any] | None,
    runs: str | Path,
    keywords: Mapping[str, Any],
    caller: str = "rfprune.sweep",
) -> Iterator[Source]:
    """Yield the sweep that a user means; its objects lie in a scratch folder meanwhile.

    Args:
        source: a file, the name of a run or a shipped sweep, a spec or its mapping; or None.
        runs: folder of all runs.
        keywords: sections of a sweep file, or single keys of it.
        caller: the function that the user called, for messages.

    Raises:
        SpecError: it is not a sweep, or breaks the schema.
    """
    values, base_dir, place = _values(source, Path(runs), caller)
    own_name = values.get("name")
    values = _laid_over(values, keywords)
    values.setdefault("name", "sweep")
    name = str(values["name"])
    home = run_folder(place, own_name, name, Path(runs))
    said = caller if place is None else str(place)
    with hand_over(values, base_dir, home) as given:
        spec = parse_spec(SweepSpec, given.values, said)
        yield Source(SweepFile(spec, SweepFolder(home), given.base_dir, said), given)


@contextlib.contextmanager
def trial_source(
    source: str | Path | TrialSpec | Mapping[str, Any] | None,
    runs: str | Path,
    keywords: Mapping[str, Any],
    name: str | None,
) -> Iterator[TrialSource]:
    """Yield the trial that a user means, as `sweep_source` does a sweep.

    Raises:
        SpecError: it is a sweep, or breaks the schema.
    """
    said, base_dir, values = "rfprune.prune", Path.cwd(), {}
    if isinstance(source, str | Path):
        path = Path(source)
        said, base_dir, values = str(path), path.parent.resolve(), read_yaml(path)
        name = name or path.stem
    elif source is not None:
        values = dict(_plain_values(source, said))
    if "search" in values:
        raise SpecError(f"{said}: is a sweep file, with a search. Use: rfprune sweep {said}")
    home = Path(runs) / (name or "trial")
    with hand_over(_laid_over(values, keywords), base_dir, home) as given:
        yield TrialSource(parse_spec(TrialSpec, given.values, said), home, given, said)


def _values(
    source: str | Path | SweepSpec | Mapping[str, Any] | None, runs: Path, caller: str
) -> tuple[dict[str, Any], Path, Path | None]:
    if isinstance(source, str | Path):
        return read_sweep_values(str(source), runs)
    return ({} if source is None else dict(_plain_values(source, caller))), Path.cwd(), None


def _plain_values(source: TrialSpec | Mapping[str, Any], caller: str) -> Mapping[str, Any]:
    if isinstance(source, TrialSpec):
        return source.canonical()
    if isinstance(source, Mapping):
        return source
    raise SpecError(
        f"{caller}: {type(source).__name__} is not a sweep. Allowed: a file, the name of a run, a "
        "SweepSpec or a mapping; networks and data are handed over as model= and data=."
    )


def _laid_over(values: Mapping[str, Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with keywords over them: within a section key by key."""
    result = dict(values)
    for key, given in keywords.items():
        if given is None:
            continue
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(given, Mapping) and key not in _WHOLE:
            result[key] = _laid_over(old, given)
        else:
            result[key] = given
    return result
