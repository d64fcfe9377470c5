"""AKPERL beside static pruning on photos: runs whatever is missing from the file of results.

``python -m benchmarks.akperl.page`` makes the page of it.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.akperl.cases import CASES, METHODS, RIVALS, SMALL
from benchmarks.akperl.page import RESULTS_FILE
from benchmarks.akperl.study import Results, jobs, run, streamed
from benchmarks.report import facts


def main() -> None:
    """Run the trials and streams, and write the file after each."""
    parser = argparse.ArgumentParser(description="AKPERL beside static pruning on photos")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    every = [*METHODS, *RIVALS]
    parser.add_argument("--methods", nargs="+", choices=every, default=every)
    parser.add_argument("--streams", action="store_true", help="the drifting streams only")
    parser.add_argument("--runs", type=Path, default=Path("runs/akperl_study"))
    parser.add_argument("--results", type=Path, default=RESULTS_FILE)
    given = parser.parse_args()
    results = Results.read(given.results)
    known = facts(("rfprune", "torch", "numpy", "scipy", "torch_pruning"), 0)
    # What was measured of the others stays what it was.
    if set(given.cases) & set(SMALL) and not given.streams:
        results.small_facts = known
    if set(given.cases) - set(SMALL) or given.streams:
        results.facts = known
    if given.streams:
        for seed in set(range(given.seeds)) - {one["seed"] for one in results.streams}:
            results.streams = sorted([*results.streams, streamed(seed)], key=lambda x: x["seed"])
            results.write(given.results)
        return
    for job in jobs(given.cases, range(given.seeds), given.methods):
        if not results.has(job):
            results.add(run(job, given.runs))
            results.write(given.results)
            print(f"{job.case}, {job.method}, seed {job.seed}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
