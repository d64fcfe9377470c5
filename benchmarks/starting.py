"""Writes the page of start-up times: ``python -m benchmarks.starting [COMMIT...]``.

CPU seconds of processes that import the package or print a help text, of the commit that is checked
out and of others, with the same interpreter and packages. They take turns, so that what else the
machine does meets all of them.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, ROOT, facts, render, sentence, table
from rfprune.core.files import write_atomic

#: What is started, in the words of a user, and the arguments of Python.
COMMANDS: dict[str, tuple[str, ...]] = {
    "python -c pass": ("-c", "pass"),
    "import rfprune": ("-c", "import rfprune"),
    "rfprune --help": ("-m", "rfprune", "--help"),
    "rfprune sweep --help": ("-m", "rfprune", "sweep", "--help"),
}
#: What takes long to load.
_HEAVY = ("hls4ml", "matplotlib", "mlflow", "numpy", "optuna", "pandas", "pydantic", "ray", "torch")
_TURNS = 11
_HEAD = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]


def checked_out(commit: str, into: Path) -> Path:
    """Return a folder below `into` with the package as a commit has it."""
    command = ["git", "-C", str(ROOT), "archive", commit, "rfprune"]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(into / commit, filter="data")
    return into / commit


def start(tree: Path, *arguments: str) -> str:
    """Run Python with the package of a folder; return what it says on its error stream."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ran.stderr


def cpu_seconds(tree: Path, arguments: tuple[str, ...]) -> float:
    """Return user and system time of one process, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start(tree, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def loaded(tree: Path, arguments: tuple[str, ...]) -> str:
    """Return the heavy packages that a process loads, as text."""
    said = start(tree, "-X", "importtime", *arguments)
    modules = {line.rpartition("|")[2].strip() for line in said.splitlines()}
    return ", ".join(name for name in _HEAVY if name in modules) or "none"


def measure(trees: dict[str, Path]) -> list[dict[str, Any]]:
    """Return a row for each command and tree: median and range of the CPU seconds, what is loaded.

    Args:
        trees: folders with the package, by commit.
    """
    rows: list[dict[str, Any]] = []
    for command, arguments in COMMANDS.items():
        # Once beforehand: the first run of a tree compiles its modules.
        heavy = {name: loaded(tree, arguments) for name, tree in trees.items()}
        seconds: dict[str, list[float]] = {name: [] for name in trees}
        for _ in range(_TURNS):
            for name, tree in trees.items():
                seconds[name].append(cpu_seconds(tree, arguments))
        for name, values in seconds.items():
            row = {
                "command": f"`{command}`",
                "commit": name,
                "median_s": f"{statistics.median(values):.3f}",
                "range_s": f"{min(values):.3f} to {max(values):.3f}",
                "loads": heavy[name],
            }
            rows.append(row)
    return rows


def main() -> None:
    """Write ``docs/results/starting.md``."""
    parser = argparse.ArgumentParser(description="the page of start-up times")
    parser.add_argument("commits", nargs="*")
    commits: list[str] = parser.parse_args().commits
    known = sentence(facts(["rfprune"], 0))
    with tempfile.TemporaryDirectory(prefix="rfprune-") as place:
        # Whatever is measured is a commit: nobody could repeat what was not.
        head = subprocess.run(_HEAD, capture_output=True, text=True, check=True).stdout.strip()
        trees = {name: checked_out(name, Path(place)) for name in (head, *commits)}
        rows = measure(trees)
    page = render(
        "starting",
        command=f"python -m benchmarks.starting {' '.join(commits)}".strip(),
        facts=re.sub(r"; seed \d+\.", ".", known),
        turns=str(_TURNS),
        rows=table(rows),
    )
    write_atomic(RESULTS / "starting.md", page)
    print(f"written: {RESULTS / 'starting.md'}")


if __name__ == "__main__":
    main()
