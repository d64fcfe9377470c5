"""What every study shares: the facts it states, its tables, its page, its command line.

A study is a list of cases and a measurement that returns one JSON object. `Study.run` does the
rest: it reads the options, prints the object or the page, and writes the page with its pictures.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel

import rfprune
from rfprune.core.files import write_atomic

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
#: Where the committed pages are; the prose that they are made of is in ``pages/``.
RESULTS = ROOT / "docs" / "results"
Row = Mapping[str, Any]


def facts(packages: Sequence[str], seed: int) -> dict[str, Any]:
    """Return machine, Python, versions of the packages (None if absent), load and seed."""
    versions: dict[str, str | None] = {}
    for package in packages:
        # rfprune itself may run from its folder.
        versions[package] = rfprune.__version__ if package == "rfprune" else None
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    processor, info = platform.processor(), Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)
        processor = found[1].strip() if found else processor
    return {
        "machine": f"{platform.machine()} {platform.system()}",
        "processor": processor or "unknown processor",
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions,
        "seed": seed,
    }


def sentence(known: Row) -> str:
    """Return `facts` as one line of text."""
    versions = ", ".join(f"{name} {number or '-'}" for name, number in known["versions"].items())
    return (
        f"{known['machine']}, {known['processor']}, {known['cpus']} cpus, load "
        f"{known['load']} at the start; Python {known['python']}, {versions}; seed {known['seed']}."
    )


def table(rows: Iterable[Row], columns: Sequence[str] | None = None) -> str:
    """Return rows as a Markdown table.

    Args:
        rows: of values; floats get three digits, what is missing or None is a dash. A study that
            wants other digits hands over text.
        columns: that are shown, in this order; None = all, in the order in which they appear.
    """
    rows = list(rows)
    if not rows:
        return "(none)"
    columns = columns or list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def verdict(measured: float | None, asked: float, at_least: bool = False) -> bool | None:
    """Return whether a target is met; None where nothing was measured."""
    return None if measured is None else measured >= asked if at_least else measured <= asked


def memory_mb(name: str) -> float | None:
    """Return ``VmHWM`` (peak) or ``VmRSS`` (now) of this process in MB; None if nobody tells."""
    status = Path("/proc/self/status")
    found = re.search(rf"^{name}:\s*(\d+)", status.read_text(), re.M) if status.is_file() else None
    return float(found[1]) * 1024 / 1e6 if found else None


def apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call returns in a fresh process; what it prints goes to the error stream."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=os.dup2, initargs=(2, 1)) as pool:
        return pool.submit(call, *arguments).result()


def render(name: str, **parts: str) -> str:
    """Return the page ``pages/NAME.md`` with its ``{{ part }}`` filled in.

    Raises:
        KeyError: the template names a part that is not given.
    """
    text = (HERE / "pages" / f"{name}.md").read_text(encoding="utf-8")
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]].strip("\n"), text)


def read_cases(study: str, file: str = "cases") -> dict[str, Any]:
    """Return what ``STUDY/FILE.yml`` lists."""
    found: dict[str, Any] = yaml.safe_load((HERE / study / f"{file}.yml").read_text("utf-8"))
    return found


def settings(base: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with nested changes."""

    def change(old: Any, new: Any) -> Any:
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return new
        return old | {name: change(old.get(name), value) for name, value in new.items()}

    return reduce(change, changes, base)


def listed(known: Iterable[str], separator: str = ",") -> Callable[[str], list[str]]:
    """Return what reads an option that lists some of the known names."""
    names = list(known)

    def read(text: str) -> list[str]:
        found = [name.strip() for name in text.split(separator) if name.strip()]
        for name in found:
            if name not in names:
                there = f"{separator} ".join(names)
                raise argparse.ArgumentTypeError(f"no case '{name}'; there are: {there}")
        return found

    return read


class Kept(BaseModel):
    """What has been measured so far, in a file, so that a study can be resumed."""

    @classmethod
    def read(cls, path: Path | None, **known: Any) -> Self:
        """Return what a file holds, or nothing yet but what is `known`."""
        if path is None or not path.exists():
            return cls(**known)
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def write(self, path: Path | None) -> None:
        """Write the file, if there is one."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, self.model_dump_json() + "\n")


@dataclass(frozen=True)
class Study:
    """A measurement with its page, as a command ``python -m benchmarks.NAME``.

    Attributes:
        name: of the command, of its template and of its page.
        about: one line for ``--help``.
        measure: makes the JSON object from the options.
        page: makes the page from the object.
        draw: makes the pictures from the object, in the folder that is named like the page.
        packages: whose versions are stated.
        options: by flag: type (bool for a switch), default (... if it must be given), help.
    """

    name: str
    about: str
    measure: Callable[[argparse.Namespace], dict[str, Any]]
    page: Callable[[dict[str, Any]], str]
    draw: Callable[[dict[str, Any], Path], None] | None = None
    packages: Sequence[str] = ()
    options: Mapping[str, tuple[Any, Any, str]] = field(default_factory=dict)

    def run(self) -> None:
        """Read the command line, measure, and print or write the result."""
        program = ["python", "-m", f"benchmarks.{self.name}"]
        parser = argparse.ArgumentParser(prog=" ".join(program), description=self.about)
        for flag, (kind, default, text) in self.options.items():
            value = {"type": kind, "default": default, "required": default is ...}
            how: dict[str, Any] = {"action": "store_true"} if kind is bool else value
            parser.add_argument(flag, help=text, **how)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            *("--page", "--out", "--write"),
            dest="page",
            nargs="?",
            type=Path,
            const=RESULTS / f"{self.name}.md",
            help=f"write the page (docs/results/{self.name}.md), and its pictures beside it",
        )
        given = parser.parse_args()
        # Before the measurement, since it states the load at the start.
        known = facts(self.packages, getattr(given, "seed", 0))
        command = shlex.join([*program, *sys.argv[1:]])
        result = {"command": command, "facts": known, **self.measure(given)}
        if given.page:
            if self.draw:
                self.draw(result, given.page.with_suffix(""))
            given.page.write_text(self.page(result), encoding="utf-8")
        print(json.dumps(result) if given.json else self.page(result).rstrip("\n"))
