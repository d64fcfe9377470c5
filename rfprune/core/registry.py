"""Tables of things that a file can name: models, data sets, methods, estimators, ...

A table maps a name to a `module:attribute` string and imports it only when it is asked for, so that
listing names costs nothing. Other packages add rows through entry points of the group
``rfprune.<kind>``; a user's own function is named as ``package.module:function``.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfprune.errors import RfpruneError, UnknownNameError

__all__ = ["Entry", "Registry", "a_type", "importable", "nearest", "resolve"]


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest allowed name, or an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def a_type(value: object) -> str:
    """Return the name of a value's type with its article, as messages say it: an int, a str."""
    name = type(value).__name__
    return f"an {name}" if name[0].lower() in "aeio" or name.startswith("nd") else f"a {name}"


def resolve(target: str) -> Any:
    """Import ``package.module:attribute`` and return the attribute.

    Raises:
        UnknownNameError: the module or the attribute does not exist, with the reason.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except RfpruneError:
        raise
    except Exception as error:  # a user's module may fail in any way
        reason = (
            str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        )
        raise UnknownNameError(f"'{target}': cannot import '{module_name}' ({reason}).") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        public = [name for name in dir(module) if not name.startswith("_")]
        raise UnknownNameError(
            f"'{target}': module '{module_name}' has no '{attribute}'.{nearest(attribute, public)}"
        ) from None


@contextmanager
def importable(base_dir: Path | None = None) -> Iterator[None]:
    """Put `base_dir` and the current folder on the import path while the block runs."""
    before = list(sys.path)
    folders = [str(folder.resolve()) for folder in (base_dir, Path.cwd()) if folder is not None]
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


@dataclass(frozen=True)
class Entry:
    """One row of a table: where the thing lives, and one line that says what it is."""

    target: str
    summary: str


class Registry(Mapping[str, Entry]):
    """A table of one kind of thing, e.g. ``Registry("model", {"mlp": Entry(...)})``."""

    def __init__(self, kind: str, rows: dict[str, Entry]) -> None:
        self.kind = kind
        self._rows = rows
        self._plugins_read = False

    def _read_plugins(self) -> None:
        if not self._plugins_read:
            self._plugins_read = True
            # Reads the parsers of e-mail, for a tenth of the time of a command's help.
            from importlib.metadata import entry_points

            for point in entry_points(group=f"rfprune.{self.kind}"):
                # A package that is installed must not change what a name of ours means.
                self._rows.setdefault(point.name, Entry(point.value, f"from {point.module}"))

    def __getitem__(self, name: str) -> Entry:
        self._read_plugins()
        if name not in self._rows:
            known = ", ".join(sorted(self._rows))
            raise UnknownNameError(
                f"unknown {self.kind} '{name}'.{nearest(name, self._rows)} Known: {known}."
            )
        return self._rows[name]

    def __contains__(self, name: object) -> bool:
        self._read_plugins()
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        self._read_plugins()
        return iter(sorted(self._rows))

    def __len__(self) -> int:
        self._read_plugins()
        return len(self._rows)

    def load(self, name: str) -> Any:
        """Return the thing itself: a row of the table, or any ``package.module:attribute``."""
        return resolve(name if ":" in name and name not in self else self[name].target)
