"""The table of layers holds: each case proven, rewritten or refused; and random networks."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
import torch

import rfprune
from benchmarks.layers.cases import CASES, PATHS, Case
from benchmarks.layers.fuzz import fuzz
from benchmarks.layers.page import PAGE, page, refusal, rows_of, said_by_check, target_of_case
from benchmarks.layers.prove import faults_of, seeded
from rfprune.core.named import Named
from rfprune.errors import InputError
from rfprune.fpga.layers.taken import REFUSED
from rfprune.models import building

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")

#: Of random networks; ``RFPRUNE_FUZZ`` sets another number, ``RFPRUNE_FUZZ_SEED`` the first seed.
NETWORKS = int(os.environ.get("RFPRUNE_FUZZ", "48"))
SEED = int(os.environ.get("RFPRUNE_FUZZ_SEED", "0"))
#: A message says what to do instead.
WAY_OUT = re.compile(
    r"\b([Tt]ake|[Uu]se|[Kk]eep|compute|[Cc]hange|[Aa]llowed|pad explicitly|leave it out)\b"
)

WRONG = ("silent", "late")
#: Refused for their rows first: of three axes, or scaled numbers that choose rows of a table.
NO_SUCH_ROWS = ("nn.Conv3d", "nn.Embedding")
ids = [f"{case.group}: {case.written}" for case in CASES]


def test_size_and_names() -> None:
    assert len(CASES) >= 45
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_what_is_refused_says_why_and_what_to_do(case: Case) -> None:
    for path in PATHS:
        kind, _, words = case.outcome[path].partition(": ")
        said = refusal(case, path)
        assert bool(said) == (kind == "refused")
        assert words in said
        assert not said or WAY_OUT.search(said), said


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_check_says_what_the_table_says(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # The cases have outputs of every shape, and no task takes all of them.
    monkeypatch.setattr(building, "_check_output", lambda *args: None)
    for path in PATHS:
        if not case.outcome[path].startswith("refused"):
            continue
        with pytest.raises(InputError) as raised:
            rfprune.check(**sweep_of(case, path))
        if case.written not in NO_SUCH_ROWS:
            assert str(raised.value) == f"rfprune.check: {said_by_check(case, path)}"


def sweep_of(case: Case, path: str) -> dict[str, Any]:
    """Return a case as the keywords of a sweep."""
    with seeded(0):
        model, x = case.make(), rows_of(case, 64)
    data = {f"y_{part}": torch.arange(64) % 2 for part in ("train", "test")}
    for part in ("train", "test"):
        parts = x.parts.items() if isinstance(x, Named) else [("", x)]
        data |= {f"x_{part}_{name}".rstrip("_"): rows for name, rows in parts}
    search = {"train.learning_rate": {"low": 0.001, "high": 0.01}}
    return {"model": model, "data": data, "search": search, **target_of_case(case, path)}


def test_every_reason_names_a_way_out() -> None:
    assert [name for name, reason in REFUSED.items() if not WAY_OUT.search(reason)] == []


def test_page() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m benchmarks.layers writes it"


@pytest.mark.slow
def test_cases() -> None:
    assert faults_of(CASES) == []


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["", "alkaid"], ids=["hls4ml", "alkaid"])
def test_random_networks(backend: str) -> None:
    print(f"seeds {SEED} to {SEED + NETWORKS - 1}")
    found = list(fuzz(NETWORKS, SEED, backend))
    wrong = [f"seed {seed}: {v.kind}: {v.words}" for seed, v in found if v.kind in WRONG]
    assert wrong == []
    # A grammar that is refused finds nothing.
    assert sum(v.kind == "proven" for _, v in found) > len(found) / (4 if backend else 2)
