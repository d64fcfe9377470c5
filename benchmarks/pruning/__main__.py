"""Accuracy against hardware by pruning method: ``python -m benchmarks.pruning --task jets``."""

import argparse
import json
import os
from pathlib import Path

from benchmarks.pruning.measure import measure, summary
from benchmarks.pruning.page import shown
from benchmarks.pruning.tasks import BAR, METHODS, TASKS, Results
from benchmarks.report import table


def main() -> None:
    """Run the benchmark and print its table, or one JSON object."""
    parser = argparse.ArgumentParser(description="accuracy against hardware by pruning method")
    parser.add_argument("--task", choices=sorted(TASKS), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="all if not given")
    parser.add_argument("--cases", nargs="+", help="reuse factors, or what they name")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    text = "print one JSON object; with a file, keep it there, and run only what is missing from it"
    parser.add_argument("--json", nargs="?", type=Path, const=Path(), metavar="FILE", help=text)
    given = parser.parse_args()
    task, prints = TASKS[given.task], given.json == Path()
    if unknown := set(given.cases or ()) - set(task.cases):
        parser.error(f"no case '{min(unknown)}'; there are: {', '.join(task.cases)}")
    file = None if prints else given.json
    results = Results.read(file, task=given.task)
    asked = (given.cases or list(task.cases), given.methods or task.methods)
    measure(results, file, range(given.seeds), *asked, given.processes)
    rows = summary(results)
    if prints:
        print(json.dumps({**results.model_dump(), "rows": rows}))
    elif file is None:
        print(f"\nconverged dense network: test accuracy {results.accuracy:.4f}, bar {BAR} of it\n")
        print(table(map(shown, rows)))


if __name__ == "__main__":
    main()
