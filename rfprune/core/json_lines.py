"""Logs of one JSON value per line, whose last line a crash may have cut off.

Only a line that ends in a newline was written whole. A reader leaves the torn end out; whoever goes
on writing removes it first, because what is appended to it would become part of a damaged line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rfprune.core.files import sync, write_atomic
from rfprune.errors import RunsError

__all__ = ["append_line", "read_records", "repair", "whole_lines", "write_records"]

R = TypeVar("R", bound=BaseModel)


def append_line(path: Path, value: Any, *, durable: bool = True) -> None:
    """Append `value` as one line of JSON.

    Args:
        path: the log; it is made if it does not exist.
        value: what ``json.dumps`` takes.
        durable: whether the line must survive a power failure. A sync costs milliseconds, so values
            that can be computed again go without.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, separators=(",", ":")) + "\n")
        if durable:
            sync(file)


def whole_lines(path: Path) -> list[str]:
    """Return the complete, non-empty lines of a log, or an empty list if the file does not exist.

    Raises:
        RunsError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
        # Cut before it is decoded: a crash may also end within a character.
        text = content[: content.rfind(b"\n") + 1].decode("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RunsError(f"{path}: is damaged ({error}).") from error
    # Not `splitlines`, which also cuts at characters that JSON allows within a string.
    return [line for line in text.split("\n") if line]


def repair(path: Path) -> None:
    """Remove a last line that was cut off, so that the next one begins a line of its own."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(path, end)


def read_records(path: Path, kind: type[R]) -> list[R]:
    """Return the lines of a log as models of `kind`, or an empty list if the file does not exist.

    Raises:
        RunsError: a complete line is not such a record.
    """
    try:
        return [kind.model_validate_json(line) for line in whole_lines(path)]
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        reason = f"{place}: {fault['msg']}" if place else fault["msg"]
        raise RunsError(f"{path}: is damaged ({reason}).") from error


def write_records(path: Path, records: Sequence[BaseModel]) -> None:
    """Replace a log, when what it records returns to an earlier state."""
    write_atomic(path, "".join(record.model_dump_json() + "\n" for record in records))
