"""g++, and what of its work is the same for every design and kept in the user's cache.

The vendor's types are templates of 20,000 lines that every generated source includes, and
Verilator's run time is compiled with every simulation: most of the time of a small design. Both are
kept by their content, the compiler's version and its options, the newest few of each kind.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rfprune.core.digests import sha256_of_parts
from rfprune.core.paths import user_folder
from rfprune.errors import MissingExtraError

__all__ = ["compile_command", "compiler", "from_cache", "version_of"]

#: Folders of a kind in the cache; a precompiled header has 86 MB.
_KEPT = 4
_TYPES = "types.h"
#: What generated sources include first; those that are not there are left out.
_HEADERS = ("ap_fixed.h", "ap_int.h", "hls_stream.h")


def compiler() -> str:
    """Return the path of g++.

    Raises:
        MissingExtraError: there is none.
    """
    found = shutil.which("g++")
    if found is None:
        raise MissingExtraError(
            "the C++ simulation needs g++; install it, e.g. with: apt install g++"
        )
    return found


@functools.cache
def version_of(program: str) -> str:
    """Return the version that a program says it has, as its first number with a dot."""
    ran = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\d+\.\d[\w.+-]*", ran.stdout)
    return match.group() if match else "unknown"


def compile_command(types: Path, options: Sequence[str]) -> list[str]:
    """Return how a command begins that compiles sources with the vendor's types.

    The types are taken as they were compiled before, if that can be kept. g++ itself compares the
    options, and reads the headers if they are not those.

    Args:
        types: folder of the headers.
        options: those of the compilation that matter to headers: language, optimization, position.

    Raises:
        MissingExtraError: no g++.
    """
    command = [compiler(), *options, f"-I{types}"]
    names = [name for name in _HEADERS if (types / name).is_file()]
    files = [path for path in sorted(types.rglob("*")) if path.is_file()]
    parts: list[str | bytes] = [version_of(command[0]), *options]
    for path in files:
        parts += [path.relative_to(types).as_posix(), path.read_bytes()]

    def make(place: Path) -> bool:
        (place / _TYPES).write_text("".join(f'#include "{name}"\n' for name in names))
        header = ["-x", "c++-header", _TYPES, "-o", f"{_TYPES}.gch"]
        return subprocess.run([*command, *header], cwd=place, capture_output=True).returncode == 0

    found = from_cache("vendor_types", parts, make) if names else None
    return command if found is None else [*command, "-include", str(found / _TYPES)]


def from_cache(
    kind: str, parts: Sequence[str | bytes], make: Callable[[Path], bool]
) -> Path | None:
    """Return a folder of the user's cache, which is made if it is not there.

    Args:
        kind: a name for all that is made in this way.
        parts: all that its content follows from.
        make: writes into an empty folder, and returns whether that succeeded.

    Returns:
        None where it cannot be made or the cache cannot be written, which costs time alone.
    """
    home = user_folder("cache") / "compiled" / kind
    place = home / sha256_of_parts(parts)[:32]
    with contextlib.suppress(OSError):
        if place.is_dir():
            os.utime(place)
            return place
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="new-", dir=home) as scratch:
            new = Path(scratch) / "made"
            new.mkdir()
            if not make(new):
                return None
            # Another process may have been first: its folder holds the same.
            with contextlib.suppress(OSError):
                new.rename(place)
        _forget_oldest(home)
        return place if place.is_dir() else None
    return None


def _forget_oldest(home: Path) -> None:
    found = [path for path in home.iterdir() if not path.name.startswith("new-")]
    for old in sorted(found, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
