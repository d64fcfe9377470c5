"""Faults: kills of running sweeps, single faults by their tests, and a sweep of many trials."""

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks.faults.driver import PROMOTED, TOGETHER
from benchmarks.faults.kills import KINDS, SECONDS, TRIALS, campaign
from benchmarks.faults.retargets import measure as measure_retargets
from benchmarks.faults.scale import measure as measure_scale
from benchmarks.report import ROOT, Kept, Study, read_cases, render, sentence, table

PARTS = ("kills", "promoted", "together", "retargets", "faults", "scale")


def by_their_tests() -> list[dict[str, Any]]:
    """Run the test of every listed fault; return what was done, expected and found."""
    cases = read_cases("faults")["faults"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
        command += [case["test"] for case in cases]
        subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr)
        found = {
            f"{case.get('file')}::{case.get('name')}": case
            for case in ElementTree.parse(report).iter("testcase")
        }
    return [{**case, "found": _found(found.get(case["test"]))} for case in cases]


def _found(case: ElementTree.Element | None) -> str:
    if case is None:
        return "the test was not run"
    for kind in ("failure", "error", "skipped"):
        if (said := case.find(kind)) is not None:
            words = (said.get("message") or "").splitlines() or [kind]
            return f"{'not tried' if kind == 'skipped' else '**not so**'}: {words[0][:120]}"
    return "as expected"


def page(result: dict[str, Any]) -> str:
    """Return the page; parts that were not run have a dash."""
    sweeps, faults = result["kills"] + result["promoted"] + result["together"], result["faults"]
    totals = Counter[str]()
    for row in sweeps:
        totals.update(row["kills"])
    by_kind = [{"what was done": kind, "times": totals[kind]} for kind in KINDS if totals[kind]]
    sums = {name: sum(row[name] for row in sweeps) for name in ("lost", "doubled", "running")}
    rows = [{**row, "kills": sum(row["kills"].values())} for row in sweeps]
    scale = result["scale"]
    distinct = len(by_kind) + sum(row["found"] == "as expected" for row in faults)
    return render(
        "faults",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        kills=f"{totals.total()}",
        distinct=str(distinct),
        trials=str(TRIALS),
        seconds=f"{SECONDS:g}",
        sums=", ".join(f"{number} {name}" for name, number in sums.items()),
        by_kind=table(by_kind),
        sweeps=table(
            rows,
            [
                "sweep",
                "kills",
                "starts",
                "wanted",
                "complete",
                "paused",
                "lost",
                "doubled",
                "running",
            ],
        ),
        retargets=", ".join(f"{number} {what}" for what, number in result["retargets"].items())
        or "not measured for this page",
        faults=table(
            {name: row[name] for name in ("fault", "expected", "found", "before")} for row in faults
        ),
        tests=table({"fault": row["fault"], "test": f"`{row['test']}`"} for row in faults),
        scale=table({"what": name, "measured": value} for name, value in scale.items())
        if scale
        else "Not measured for this page.",
    )


class Found(Kept):
    """What has been found so far, so that a long study can be resumed."""

    kills: list[dict[str, Any]] = Field(default_factory=list)
    promoted: list[dict[str, Any]] = Field(default_factory=list)
    together: list[dict[str, Any]] = Field(default_factory=list)
    retargets: dict[str, int] = Field(default_factory=dict)
    faults: list[dict[str, Any]] = Field(default_factory=list)
    scale: dict[str, Any] = Field(default_factory=dict)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that are asked for and not kept yet."""
    found = Found.read(given.kept)
    if "faults" in given.parts and not found.faults:
        found.faults = by_their_tests()
        found.write(given.kept)
    if "scale" in given.parts and not found.scale:
        found.scale = measure_scale(given.trials)
        found.write(given.kept)
    if "kills" in given.parts:
        campaign("sweep", given.kills, given.seed, found.kills, lambda: found.write(given.kept))
    for part in (PROMOTED, TOGETHER):
        if part in given.parts:
            rows: list[dict[str, Any]] = getattr(found, part)
            campaign(part, given.further, given.seed, rows, lambda: found.write(given.kept))
    if "retargets" in given.parts and not found.retargets:
        found.retargets = measure_retargets(given.further, given.seed)
        found.write(given.kept)
    return found.model_dump()


def _parts(text: str) -> list[str]:
    return [part for part in PARTS if part in text.split(",")]


if __name__ == "__main__":
    Study(
        "faults",
        "what breaks a sweep and what does not: kills, single faults, many trials",
        measure,
        page,
        packages=("rfprune", "ray", "optuna", "mlflow", "sqlalchemy", "psycopg", "torch"),
        options={
            "--parts": (_parts, list(PARTS), f"some of: {', '.join(PARTS)}"),
            "--kills": (int, 200, "how many kills"),
            "--further": (
                int,
                20,
                "how many of promoted trials, of such that share a process, and of retargeting",
            ),
            "--trials": (int, 1000, "how many trials the long sweep has"),
            "--kept": (Path, None, "a file that keeps what was found, to resume from"),
            "--seed": (int, 0, "of the moments and the kinds"),
        },
    ).run()
