"""A method is loaded by its name alone: what a knapsack does not need stays unloaded."""

import subprocess
import sys

CODE = """
import sys
import numpy as np
from rfprune.methods import Problem, find_method
problem = Problem(
    value=np.array([3.0, 2.0, 1.0]),
    cost=np.ones((3, 1)),
    budget=np.array([2.0]),
    layer=np.zeros(3, dtype=np.int64),
    floor=np.zeros(1, dtype=np.int64),
    used=lambda keep: keep.sum(keepdims=True).astype(float),
    rng=np.random.default_rng(0),
)
print(find_method("knapsack").select(problem).keep.tolist())
loaded = {name for name in sys.modules if name == "torch" or name.startswith("rfprune.")}
print(sorted(name for name in loaded if name == "torch" or "akperl" in name))
find_method("akperl")
print("rfprune.methods.akperl" in sys.modules)
"""


def test_a_knapsack_loads_nothing_of_the_agent() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[True, True, False]", "[]", "True"]
