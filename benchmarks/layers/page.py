"""``docs/layers.md``, written from the cases; what is refused says so in the words of its error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from benchmarks.layers.cases import CASES, PATHS, Case
from benchmarks.layers.prove import seeded
from benchmarks.report import table
from rfprune.core.files import write_atomic
from rfprune.core.named import Named
from rfprune.errors import InputError
from rfprune.methods import find_method
from rfprune.spec import TrialSpec
from rfprune.trial.prepare import deploy

__all__ = ["PAGE", "note_fuzzed", "page", "refusal", "rows_of", "said_by_check", "target_of_case"]

_HEAD = """# Layers: proven, rewritten or refused

Made by `python -m benchmarks.layers`, which builds every case, as `tests/fpga/layers/test_table.py`
does.

- **proven**: the user's own module equals rfprune's graph in double precision, and the C++ that
  hls4ml generates, or alkaid's graph of adders, equals that graph in the deployed types, bit for
  bit, on corner vectors and random rows.
- **rewritten**: an exact equivalent is handed over instead; proven in the same way.
- **refused**: before any training, with the reason and a way out, by `rfprune check` and before
  every trial. The words are those that `rfprune check` says: this page asks the same function.

Random networks of the same layers, with random types, strategies and reuse factors, look for what
the table misses: `python -m benchmarks.layers.fuzz --networks 2000`.

{fuzzed}

`rfprune list layers` shows every name that is taken or refused.

The paths: hls4ml with `io_type: io_parallel` and `io_stream`; alkaid with `backend: alkaid`, which
unrolls a network wholly.

{counts}
"""
PAGE = Path(__file__).parents[2] / "docs" / "layers.md"
#: What random networks showed, by path.
_FUZZED = Path(__file__).with_name("fuzzed.json")
_COLUMNS = (
    "| written as | io_parallel | io_stream | alkaid | becomes, or why it is refused "
    "| hls4ml 1.3 alone |"
)


def page() -> str:
    """Return the page."""
    parts = [_HEAD.format(counts=_counts(), fuzzed=_fuzzed())]
    for group, cases in groupby(CASES, key=lambda case: case.group):
        parts += [f"## {group}", "", _COLUMNS, "|---|---|---|---|---|---|"]
        parts += [*map(_row, cases), ""]
    return "\n".join(parts)


def note_fuzzed(
    backend: str, networks: int, seed: int, counts: Mapping[str, int], times: Mapping[str, int]
) -> None:
    """Keep what random networks showed on one path, and write the page with it.

    Args:
        backend: hls4ml or alkaid.
        networks: how many.
        seed: of the first.
        counts: networks by verdict.
        times: seconds, and of processors.
    """
    known = json.loads(_FUZZED.read_text()) if _FUZZED.exists() else {}
    verdicts = {kind: counts.get(kind, 0) for kind in ("proven", "refused", "silent", "late")}
    known[backend] = {"networks": networks, "first seed": seed, **verdicts, **times}
    write_atomic(_FUZZED, json.dumps(known, indent=1) + "\n")
    write_atomic(PAGE, page())


def _fuzzed() -> str:
    known = json.loads(_FUZZED.read_text()) if _FUZZED.exists() else {}
    rows = [{"path": backend, **found} for backend, found in sorted(known.items())]
    return (
        table(rows)
        + "\n\n`silent`: other numbers, and nothing said; `late`: an error after the planning."
    )


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
    # Where it is in the network, and where to look for more, stand in every message.
    head, _, words = (
        said_by_check(case, path).partition(" ('rfprune list layers'")[0].partition(": ")
    )
    return (f"{head} {words}" if head.startswith("hardware.") else words).rstrip(".")


def said_by_check(case: Case, path: str) -> str:
    """Return what ``rfprune check`` says of a case; empty if it takes it."""
    with seeded(0):
        model, x = case.make(), rows_of(case)
    method = find_method("magnitude")
    content: dict[str, Any] = {
        "model": {"name": "mlp"},
        "data": {"name": "digits"},
        "estimator": "analytic",
    }
    content |= {"hardware": case.settings(path), "prune": {"method": "magnitude"}}
    if path == "alkaid":
        content["estimator"] = "adders"
        content["prune"]["budget"] = {"lut": 0.5}
    try:
        deploy(TrialSpec.model_validate(content), method, model, case.shape, x, Path())
    except InputError as error:
        return str(error)
    return ""


def target_of_case(case: Case, path: str) -> dict[str, Any]:
    """Return the sections of a trial that say what a case is built on."""
    found: dict[str, Any] = {"hardware": case.settings(path)}
    found["prune"] = {"method": "magnitude", "budget": {"lut": 0.5}}
    return found | {"estimator": "adders"} if path == "alkaid" else found


def rows_of(case: Case, rows: int = 8) -> Any:
    """Return rows of zeros and ones, which choose rows of a table as well."""
    shapes = case.shape if isinstance(case.shape, dict) else {"": case.shape}
    parts = {name: torch.randint(2, (rows, *shape)).float() for name, shape in shapes.items()}
    return parts[""] if "" in parts else Named(parts)
