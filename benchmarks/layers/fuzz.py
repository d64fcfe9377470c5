"""``python -m benchmarks.layers.fuzz [--networks N] [--seed S] [--backend alkaid] [--workers W]``.

Looks for silent errors in random networks; ``--note`` puts what it found into ``docs/layers.md``.

Every network has a seed of its own, which is printed where something is wrong; ``--seed S
--networks 1`` does it again. Exit status 1 if numbers differ, or an error comes only after the
planning.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.layers.grammar import random_design
from benchmarks.layers.page import note_fuzzed
from benchmarks.layers.prove import Verdict, prove

__all__ = ["fuzz"]

#: Networks that are made, compiled and forgotten at a time.
_AT_ONCE = 48


def fuzz(
    networks: int, seed: int, backend: str = "", workers: int = 1
) -> Iterator[tuple[int, Verdict]]:
    """Yield the seed and the verdict of random networks.

    Args:
        networks: how many.
        seed: of the first; the others follow it.
        backend: alkaid, or as each seed has it.
        workers: processes that share them.
    """
    end = seed + networks
    blocks = [range(start, min(start + _AT_ONCE, end)) for start in range(seed, end, _AT_ONCE)]
    verdicts = functools.partial(_verdicts, backend)
    if workers == 1:
        found = map(verdicts, blocks)
        yield from (pair for block in found for pair in block)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from (pair for block in pool.imap(verdicts, blocks) for pair in block)
        # Joined, so that their processor time is counted here.
        pool.close()
        pool.join()


def _verdicts(backend: str, seeds: range) -> list[tuple[int, Verdict]]:
    proven = prove(random_design(seed, backend) for seed in seeds)
    return list(zip(seeds, proven, strict=True))


def main() -> int:
    """Run it, and print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.layers.fuzz")
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", default="", choices=("", "alkaid"))
    parser.add_argument("--workers", type=int, default=1, help="processes that share them")
    parser.add_argument("--note", action="store_true", help="put the figures into docs/layers.md")
    given = parser.parse_args()
    begun, counts = time.monotonic(), Counter[str]()
    for seed, verdict in fuzz(given.networks, given.seed, given.backend, given.workers):
        counts[verdict.kind] += 1
        if verdict.kind in ("silent", "late"):
            print(f"seed {seed}: {verdict.kind}: {verdict.words}", flush=True)
        if counts.total() % (10 * _AT_ONCE) == 0:
            print(f"{counts.total():,} networks: {dict(counts)}", flush=True)
    spent = os.times()
    cpu = spent.user + spent.system + spent.children_user + spent.children_system
    seconds = time.monotonic() - begun
    print(
        f"{counts.total():,} networks from seed {given.seed}: {dict(counts)}; "
        f"{seconds:.0f} s, {cpu:.0f} s of processor time"
    )
    if given.note:
        times = {"s": round(seconds), "cpu s": round(cpu)}
        note_fuzzed(given.backend or "hls4ml", given.networks, given.seed, counts, times)
    return int(counts["silent"] + counts["late"] > 0)


if __name__ == "__main__":
    sys.exit(main())
