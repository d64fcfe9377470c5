"""What the designs say that came after the first rules: clocks, memories, saturation, selectors."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import pytest

from benchmarks.estimates.reports import read_designs
from benchmarks.estimates.score import pairs_of
from rfprune.fpga.estimators.analytic import estimate
from rfprune.fpga.estimators.design import parse_design

FILE = Path(os.environ.get("RFPRUNE_DATA", "../shared/data"))
FILE = FILE / "hls_reports_more" / "designs.parquet"
needs_reports = pytest.mark.skipif(
    not FILE.is_file(), reason=f"{FILE} is missing (RFPRUNE_DATA may name another folder)"
)


@lru_cache(maxsize=1)
def _found() -> dict[tuple[str, str], tuple[int, float]]:
    pairs = pairs_of(read_designs(FILE))
    return {
        (str(pair.report.row["design_id"]), pair.quantity): (round(pair.predicted), pair.truth)
        for pair in pairs
    }


def _of(name: str, quantity: str) -> tuple[int, float]:
    (pair,) = (pair for (design, q), pair in _found().items() if name in design and q == quantity)
    return pair


@needs_reports
@pytest.mark.parametrize(
    ("design", "quantity"),
    [
        ("uplane-reuse16", "ii_cycles"),
        ("uplane-test", "ii_cycles"),
        ("uplane_reuse12", "ii_cycles"),
        ("model_2/", "ii_cycles"),
        ("model_1/", "hls_bram18"),
        ("model_1/", "synthesis_bram18"),
        ("model_2/", "synthesis_bram18"),
        (":dense_demo", "hls_bram18"),
        ("uplane-test", "hls_dsp"),
    ],
)
def test_rules_that_follow_from_the_tools_are_exact(design: str, quantity: str) -> None:
    said, truth = _of(design, quantity)
    assert said == truth


@needs_reports
@pytest.mark.parametrize(
    ("design", "quantity"),
    [
        ("model_1/", "hls_lut"),  # sums that saturate
        ("uplane-reuse16", "hls_lut"),  # selectors that are shared
        ("uplane-reuse16", "synthesis_bram18"),  # memories of 16 words
        ("model_1/", "synthesis_dsp"),  # constants times 28 bits
        (":conv2d_demo", "hls_ff"),  # registers at 3.33 ns
        ("LeNet_Alveo", "ii_cycles"),  # two cycles per pixel of a pool
    ],
)
def test_the_rest_is_within_a_quarter(design: str, quantity: str) -> None:
    said, truth = _of(design, quantity)
    assert abs(said - truth) <= 0.25 * truth


def test_a_saturating_accumulator_costs_its_choices_and_additions_for_each_sum() -> None:
    layer = {"name": "fc", "type": "dense", "n_in": 64, "n_out": 16, "reuse_factor": 2}
    layer |= {"strategy": "resource"}
    kinds = ("fixed<24,16>", "fixed<24,16,RND,SAT>")
    plain, saturating = (
        estimate(parse_design({"layers": [{**layer, "accum_precision": kind}]})) for kind in kinds
    )
    assert plain.hls is not None
    assert saturating.hls is not None
    assert (plain.hls.lut or 0) < 0.5 * (saturating.hls.lut or 0)
    # 512 multipliers; the report of such a layer lists 145,850 LUTs.
    assert saturating.hls.lut == pytest.approx(283 * 512, rel=0.2)


@pytest.mark.parametrize(("n_in", "own"), [(256, True), (288, False)])
def test_selectors_are_shared_above_256_inputs(n_in: int, own: bool) -> None:
    layer = {"name": "fc", "type": "dense", "n_in": n_in, "strategy": "resource"}
    few, many = (
        estimate(parse_design({"layers": [{**layer, "n_out": n, "reuse_factor": 32}]})).total.lut
        for n in (32, 64)
    )
    per_multiplier = ((many or 0) - (few or 0)) / (n_in * 32 / 32)
    assert (per_multiplier > 200) == own


def test_memories_of_sixteen_words_are_look_up_tables_after_synthesis() -> None:
    layer = {"name": "fc", "type": "dense", "n_in": 64, "n_out": 64, "strategy": "resource"}
    for reuse_factor, kept in ((16, False), (32, True)):
        design = {"backend": "Vivado", "layers": [{**layer, "reuse_factor": reuse_factor}]}
        found = estimate(parse_design(design))
        assert found.hls is not None
        assert found.synthesis is not None
        assert (found.hls.bram18 or 0) > 0
        assert bool(found.synthesis.bram18) == kept


def test_nothing_is_multiplied_behind_weights_that_are_all_zero() -> None:
    counts = {"count": 1024, "nnz": 0, "uniq3": 0, "uniq2": 0, "pow2": 0}
    first = {"name": "fc", "type": "dense", "n_in": 32, "n_out": 32, "weights": counts}
    norm = {"name": "bn", "type": "batchnorm", "n_in": 32, "n_out": 32}
    assert estimate(parse_design({"layers": [first, norm]})).total.dsp == 0
