"""Functions of the user's own that files name, and whose they are.

A sweep names functions as ``package.module:function``, and running it imports them: that is what
its user asks for. A run folder that came from somewhere else names functions too, of which nobody
here knows what they do; to look at such a folder must not run them. So what was run here, by this
user, from which folder, is remembered, and anything else needs to be allowed.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rfprune.core.digests import key_of
from rfprune.core.files import read_json, write_json
from rfprune.core.paths import user_folder
from rfprune.errors import RunsError

__all__ = ["allowing_code", "check_code", "own_functions", "remember_code"]

_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_allowed = contextvars.ContextVar("allowed", default=False)


def own_functions(value: Any) -> Iterator[str]:
    """Yield every ``package.module:function`` in the plain values of a file but rfprune's own.

    The shell command of a power meter (``edge.meter.command``) counts as one.
    """
    if isinstance(value, str):
        if _FUNCTION.match(value) and not value.startswith("rfprune."):
            yield value
    elif isinstance(value, dict) and isinstance(value.get("command"), str):
        yield value["command"]
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from own_functions(inner)


@contextlib.contextmanager
def allowing_code(allowed: bool) -> Iterator[None]:
    """Let the functions that a run folder names be imported: the user says that it is trusted."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def remember_code(home: Path, base_dir: Path, values: Any) -> None:
    """Note that the functions in `values` are run here, for the run folder `home`."""
    names = sorted(set(own_functions(values)))
    if not names or _knows(home, base_dir, names):
        return
    known = {"folder": str(home.resolve()), "base_dir": str(base_dir.resolve()), "names": names}
    # Where nothing can be remembered, looking at the folder needs --run-code.
    with contextlib.suppress(OSError):
        write_json(_note(home, base_dir, names), known)


def check_code(home: Path, base_dir: Path, values: Any) -> None:
    """Refuse a run folder whose functions have not been run here, unless they are allowed.

    Args:
        home: folder of the sweep, or of the single trial.
        base_dir: folder that it says its modules are in.
        values: plain values of its spec.

    Raises:
        RunsError: names the functions and where they would be looked for.
    """
    names = sorted(set(own_functions(values)))
    if not names or _allowed.get() or _knows(home, base_dir, names):
        return
    raise RunsError(
        f"{home}: names functions that were not run here by you: {', '.join(names)} (looked for in "
        f"{base_dir} and the current folder). A run folder must not decide what code is run; if "
        "you trust it, use --run-code (in Python: run_code=True)."
    )


def _knows(home: Path, base_dir: Path, names: list[str]) -> bool:
    with contextlib.suppress(RunsError):
        return isinstance(read_json(_note(home, base_dir, names)), dict)
    return False


def _note(home: Path, base_dir: Path, names: list[str]) -> Path:
    key = key_of([str(home.resolve()), str(base_dir.resolve()), names])
    return user_folder("state") / "own_code" / f"{key}.json"
