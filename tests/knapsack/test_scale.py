"""A million groups: gap, feasibility and memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from rfprune.knapsack import solve

pytestmark = pytest.mark.slow
GROUPS = 10**6


def costs(resources: int, kinds: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 40, (kinds, resources)).astype(float)
    return vectors[rng.integers(0, kinds, GROUPS)]


@pytest.mark.parametrize("name", ["equal", "ties", "zeros", "tiny", "lognormal", "all different"])
def test_values_of_every_sort(name: str) -> None:
    rng = np.random.default_rng(1)
    value = {
        "equal": lambda: np.full(GROUPS, 0.37),
        "ties": lambda: rng.integers(1, 6, GROUPS).astype(float),
        "zeros": lambda: rng.random(GROUPS) * (rng.random(GROUPS) < 0.1),
        "tiny": lambda: rng.random(GROUPS) * 1e-8,
        "lognormal": lambda: rng.lognormal(size=GROUPS),
        "all different": lambda: rng.random(GROUPS),
    }[name]()
    cost = rng.random((GROUPS, 2)) if name == "all different" else costs(2, 11)
    budget = cost.sum(axis=0) * [0.05, 0.04]
    found = solve(value, cost, budget)
    assert ((cost * found.keep[:, None]).sum(axis=0) <= budget).all()
    assert found.gap <= 1e-6


@pytest.mark.parametrize("seed", range(8))
def test_memory_words_beside_single_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    number = (2 ** rng.uniform(5, 17, 8)).astype(int)
    weights = 2.0**17 / number
    cost = np.ceil(weights[:, None] * 2 ** rng.uniform(-1, 1, (8, 3)))
    cost[rng.random((8, 3)) < 0.25] = 0.0
    layer = np.repeat(np.arange(8), number)
    value, cost = weights[layer] * rng.lognormal(size=len(layer)), cost[layer]
    budget = cost.sum(axis=0) * rng.uniform(0.03, 0.5, 3)
    found = solve(value, cost, budget)
    assert (cost[found.keep].sum(axis=0) <= budget).all()
    assert found.gap <= 1e-6


def test_floors_of_every_layer() -> None:
    rng = np.random.default_rng(2)
    layer = np.sort(rng.integers(0, 24, GROUPS))
    vectors = rng.integers(1, 40, (24, 2)).astype(float)
    value, cost = rng.random(GROUPS), vectors[layer]
    floor = np.bincount(layer) // 10
    budget = cost.sum(axis=0) * [0.2, 0.25]
    found = solve(value, cost, budget, layer=layer, floor=floor)
    assert (np.bincount(layer[found.keep], minlength=24) >= floor).all()
    assert (cost[found.keep].sum(axis=0) <= budget).all()
    assert found.gap <= 1e-6


@pytest.mark.skipif(sys.platform != "linux", reason="this system has no /proc/self/status")
def test_peak_memory_of_a_million_groups_and_four_resources() -> None:
    code = (
        "import numpy as np; from rfprune.knapsack import solve;"
        "rng = np.random.default_rng(0); vectors = rng.integers(0, 40, (11, 4)).astype(float);"
        "cost = vectors[rng.integers(0, 11, 10**6)]; value = rng.random(10**6);"
        "solve(value, cost, cost.sum(0) * 0.4);"
        "print(open('/proc/self/status').read())"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    high = next(line for line in run.stdout.splitlines() if line.startswith("VmHWM"))
    assert int(high.split()[1]) * 1024 <= 1e9
