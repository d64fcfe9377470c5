"""Open tools that measure RTL: how they are found and run, and what was measured before.

A run takes from seconds to many minutes, so that it says what it is doing
(`rfprune.core.progress`), and its result is kept in the user's cache under the content of the RTL,
the version of the tools and what they were asked.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from rfprune.core.digests import canonical_json, sha256_of
from rfprune.core.files import read_json, write_json
from rfprune.core.paths import user_folder
from rfprune.core.progress import say
from rfprune.errors import MissingExtraError, RunsError, WorkError
from rfprune.fpga.estimators.rtl import Rtl

__all__ = ["Program", "find_program", "kept_or_measured", "run_program", "version_of"]

#: Limit of one run.
SECONDS = 2 * 3600.0
#: Between two looks at what a tool says.
_LOOK = 0.3
_WORDS = 70


@dataclass(frozen=True)
class Program:
    """A tool.

    Attributes:
        title: its name in messages.
        names: of its executables, the first that is there is taken.
        extra: of rfprune, with which it is installed.
        stage: pattern of the lines of its log that say what it is doing, in group 1.
    """

    title: str
    names: tuple[str, ...]
    extra: str
    stage: str


def find_program(program: Program) -> str:
    """Return the executable on PATH, or in the environment whose Python runs.

    Raises:
        MissingExtraError: there is none.
    """
    beside = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    paths = (shutil.which(name, path=beside) for name in program.names)
    found = next((path for path in paths if path), None)
    if found is None:
        raise MissingExtraError(
            f"{program.title} needs {' or '.join(program.names)}, on PATH or in the environment of "
            f"this Python: pip install 'rfprune[{program.extra}]'."
        )
    return found


@lru_cache(maxsize=8)
def version_of(path: str) -> str:
    """Return the version that an executable states of itself; empty if it states none."""
    done = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False, env=_environment()
    )
    # nextpnr says it on stderr, after its name in quotes.
    found = re.search(r"Yosys (\S+)|Version ([^\s)]+)", done.stdout + done.stderr)
    return next(filter(None, found.groups()), "") if found else ""


def _environment() -> dict[str, str]:
    """Return the variables that tools are run with.

    Those of PyPI compile themselves at their first run, which takes minutes, and fail where they
    cannot keep the result (``yowasp_runtime``).
    """
    variables = dict(os.environ)
    usual = platformdirs.user_cache_dir("YoWASP", appauthor=False)
    place = Path(variables.get("YOWASP_CACHE_DIR", usual))
    try:
        # What is there already is enough, also where nothing can be added.
        if not any(place.glob("*")):
            place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()
    except OSError:
        variables["YOWASP_CACHE_DIR"] = _scratch_cache().name
    return variables


@cache
def _scratch_cache() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that lasts as long as this process."""
    return tempfile.TemporaryDirectory(prefix="rfprune-tools-")


def kept_or_measured(
    rtl: Rtl, asked: Sequence[str], measure: Callable[[Path], dict[str, Any]]
) -> Mapping[str, Any]:
    """Return what was measured of the same RTL before, or measure it and keep that.

    Args:
        rtl: its files are copied to where the tools run.
        asked: versions and commands of the tools, and whatever else decides.
        measure: gets a folder with the files; returns plain values.
    """
    files = {name: sha256_of(content) for name, content in rtl.files.items()}
    key = sha256_of(canonical_json({"files": files, "top": rtl.top, "asked": list(asked)}))
    path = user_folder("cache") / "measured_rtl" / f"{key[:32]}.json"
    # Never measured, or a damaged file.
    with contextlib.suppress(RunsError):
        found = read_json(path)
        if isinstance(found, dict):
            return found
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        for name, content in rtl.files.items():
            (Path(scratch) / name).write_bytes(content)
        measured = measure(Path(scratch))
    # A cache that cannot be written costs time, and nothing else.
    with contextlib.suppress(OSError):
        write_json(path, measured)
    return measured


def run_program(
    program: Program,
    arguments: Sequence[str],
    folder: Path,
    place: Path,
    timeout_seconds: float = SECONDS,
) -> None:
    """Run a tool in `folder`, and say what it is doing; messages name `place`.

    Raises:
        MissingExtraError: it is not installed.
        WorkError: it failed, with its own words, or ran out of time.
    """
    command, log = [find_program(program), *arguments], folder / f"{program.names[0]}.log"
    began = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )
    try:
        while process.poll() is None:
            passed = time.monotonic() - began
            if passed > timeout_seconds:
                raise WorkError(
                    f"{place}: {program.title} did not end within {timeout_seconds:g} s."
                )
            _say_stage(program, log, passed)
            try:
                process.wait(_LOOK)
            except subprocess.TimeoutExpired:
                continue
    finally:
        # Whatever happens, Ctrl-C as well: the tool is in a session of its own.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        raise WorkError(f"{place}: {program.title} failed: {_last_words(log, process.returncode)}.")


def _say_stage(program: Program, log: Path, passed: float) -> None:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 20_000, 0))
        text = file.read().decode(errors="replace")
    stages = re.findall(program.stage, text, re.MULTILINE)
    stage = f": {stages[-1].strip()[:_WORDS]}" if stages else ""
    say(f"{program.title} has run {int(passed // 60)}:{int(passed % 60):02d}{stage}")


def _last_words(log: Path, status: int) -> str:
    """Return the line in which a tool says why it gave up."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR|error:|.*: ERROR:", line)]
    words = (errors or lines or [f"status {status}, without a message"])[-1]
    return words[:400].rstrip(".")
