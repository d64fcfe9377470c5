"""Where things are: the user's folders, and the files that another file names.

A key of a spec whose value may be a path says so in its type, ``Annotated[str, NamesFile()]``; what
has to travel to another machine is found by that, so that no list of keys has to be kept.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import BaseModel

__all__ = [
    "NamesFile",
    "find_named",
    "named_files",
    "places_of",
    "runs_option",
    "search_folders",
    "user_folder",
]

_APPLICATION = "rfprune"


def user_folder(kind: Literal["cache", "config", "state"]) -> Path:
    """Return the user's folder of a kind, which need not exist.

    On Linux ``$XDG_CACHE_HOME/rfprune`` or ``~/.cache/rfprune``, and likewise ``~/.config`` and
    ``~/.local/state``; on macOS the system's own unless the variable is set. A variable with a
    relative path is ignored, as the XDG specification asks.
    """
    folders = platformdirs.PlatformDirs(_APPLICATION, appauthor=False)
    return {
        "cache": folders.user_cache_path,
        "config": folders.user_config_path,
        "state": folders.user_state_path,
    }[kind]


@dataclass(frozen=True)
class NamesFile:
    """Mark of a key whose text is the path of a file or folder.

    Attributes:
        suffixes: the text is a path only if it ends in one of these; otherwise it is a name.
    """

    suffixes: tuple[str, ...] = ("",)


def named_files(spec: BaseModel) -> Iterator[tuple[str, str]]:
    """Yield dotted key and path, as it is written there, of every file that a spec names."""
    for key, field in type(spec).model_fields.items():
        value = getattr(spec, key)
        if isinstance(value, BaseModel):
            yield from ((f"{key}.{inner}", path) for inner, path in named_files(value))
        elif isinstance(value, dict):
            for name, part in value.items():
                if isinstance(part, BaseModel):
                    found = named_files(part)
                    yield from ((f"{key}.{name}.{inner}", path) for inner, path in found)
        elif isinstance(value, str) and any(
            isinstance(mark, NamesFile) and value.endswith(mark.suffixes) for mark in field.metadata
        ):
            yield key, value


def search_folders(base_dir: Path | None, *further: Path | None) -> list[Path]:
    """Return the folders in which relative paths of a file are looked for, best first.

    Args:
        base_dir: folder of that file, if there is one; before the current folder, so that a file
            means the same from wherever it is used.
        further: folders after the current one; None is left out.
    """
    folders = (base_dir, Path.cwd(), *further)
    return list(dict.fromkeys(folder for folder in folders if folder is not None))


def places_of(path: str, base_dir: Path | None, *further: Path | None) -> list[Path]:
    """Return where a path that a file names is looked for, best first.

    Args:
        path: as it is written; an absolute one, or one that begins with ``~``, is its only place.
        base_dir: see `search_folders`, as for `further`.
        further: folders after the current one.
    """
    named = Path(path).expanduser()
    if named.is_absolute():
        return [named]
    return [folder / named for folder in search_folders(base_dir, *further)]


def find_named(path: str, base_dir: Path | None, *further: Path | None) -> Path | None:
    """Return the first of `places_of` that exists, or None."""
    return next((place for place in places_of(path, base_dir, *further) if place.exists()), None)


def runs_option(runs: Path) -> str:
    """Return `runs` as it is typed after a command; nothing where it is the default."""
    return "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
