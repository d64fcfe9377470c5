"""The fitted constants of the analytic estimator, by rule and term.

They live in ``constants.json``, written by ``python -m benchmarks.estimates.fit`` from published
synthesis reports. Each rule is a sum of constant times term (`rfprune.fpga.estimators.terms`); no
constant belongs to a single project, and none is fitted on less than the rows that the file names.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONSTANTS_FILE", "constants", "rule_constants"]

CONSTANTS_FILE = Path(__file__).with_name("constants.json")


@lru_cache(maxsize=1)
def constants() -> dict[str, Any]:
    """Return the whole table: rule -> {"terms": {term: constant}, "rows": n, "source": text}."""
    table: dict[str, Any] = json.loads(CONSTANTS_FILE.read_text(encoding="utf-8"))
    return table


@lru_cache(maxsize=64)
def rule_constants(rule: str, terms: tuple[str, ...]) -> NDArray[np.float64]:
    """Return (len(terms),) the constants of `rule`; a term without one counts as 0."""
    fitted = constants()[rule]["terms"]
    return np.array([fitted.get(term, 0.0) for term in terms])
