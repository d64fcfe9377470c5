"""``docs/layers.md``, written from the cases; what is refused says so in the words of its error."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from benchmarks.layers.cases import CASES, PATHS, Case
from benchmarks.layers.prove import seeded
from rfprune.errors import InputError
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.unrolled.circuit import build_unrolled
from rfprune.fpga.unrolled.deployment import check_unrolled
from rfprune.spec import HardwareSpec

__all__ = ["page", "refusal"]

_HEAD = """# Layers: proven, rewritten or refused

Made by `python -m benchmarks.layers`, which builds every case, as `tests/fpga/layers/test_table.py`
does.

- **proven**: the user's own module equals rfprune's graph in double precision, and the C++ that
  hls4ml generates, or alkaid's graph of adders, equals that graph in the deployed types, bit for
  bit, on corner vectors and random rows.
- **rewritten**: an exact equivalent is handed over instead; proven in the same way.
- **refused**: before any training, with the reason and a way out, by `rfprune check` and before
  every trial.

Random networks of the same layers, with random types, strategies and reuse factors, look for what
the table misses: `python -m benchmarks.layers.fuzz --networks 2000`. `rfprune list layers` shows
every name that is taken or refused.

The paths: hls4ml with `io_type: io_parallel` and `io_stream`; alkaid with `backend: alkaid`, which
unrolls a network wholly.

{counts}
"""
_COLUMNS = (
    "| written as | io_parallel | io_stream | alkaid | becomes, or why it is refused "
    "| hls4ml 1.3 alone |"
)


def page() -> str:
    """Return the page."""
    parts = [_HEAD.format(counts=_counts())]
    for group, cases in groupby(CASES, key=lambda case: case.group):
        parts += [f"## {group}", "", _COLUMNS, "|---|---|---|---|---|---|"]
        parts += [*map(_row, cases), ""]
    return "\n".join(parts)


def _counts() -> str:
    lines = [f"{len(CASES)} cases:", "", "| | proven | rewritten | refused |", "|---|---|---|---|"]
    for path in PATHS:
        found = Counter(_kind(case, path) for case in CASES)
        lines.append(f"| {path} | {found['proven']} | {found['rewritten']} | {found['refused']} |")
    return "\n".join(lines)


def _row(case: Case) -> str:
    kinds = [_kind(case, path) for path in PATHS]
    said = [case.becomes] if case.becomes else []
    refusals = {io: refusal(case, io) for io, kind in zip(PATHS, kinds, strict=True)
                if kind == "refused"}  # fmt: skip
    if len(set(refusals.values())) == 1 and len(refusals) == len(PATHS):
        said += [*refusals.values()][:1]
    else:
        said += [f"{path}: {words}" for path, words in refusals.items()]
    cells = [f"`{case.written}`", *kinds, "; ".join(said), case.notes]
    return f"| {' | '.join(cells)} |"


def _kind(case: Case, path: str) -> str:
    return case.outcome[path].partition(":")[0]


def refusal(case: Case, path: str) -> str:
    """Return the words in which a case is refused; empty if it is not."""
    with seeded(0):
        model = case.make()
    hardware = HardwareSpec.model_validate(case.settings(path))
    try:
        planned = plan(trace(model, case.shape), hardware)
        if hardware.backend == "alkaid":
            check_unrolled(hardware)
            build_unrolled(model, planned)
    except InputError as error:
        # Where it is in the network, and where to look for more, stand in every message.
        head, _, words = str(error).partition(" ('rfprune list layers'")[0].partition(": ")
        return (f"{head} {words}" if head.startswith("hardware.") else words).rstrip(".")
    return ""
