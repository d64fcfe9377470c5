"""Readers of the named sets of tables, one function each; their files come with scikit-learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from rfprune.data.dataset import Array, RawData

__all__ = ["breast_cancer", "diabetes"]


def breast_cancer() -> RawData:
    """Return the Wisconsin diagnostic set: 30 features of 569 tumours; label 1 = benign."""
    # The first line says how many rows and features there are, and what the labels mean.
    rows = _table("breast_cancer.csv", delimiter=",", skiprows=1)
    return RawData("breast_cancer", rows[:, :-1], rows[:, -1].astype(np.int64))


def diabetes() -> RawData:
    """Return ten raw features of 442 patients and the progression of the disease, 25 to 346.

    Source: Efron, Hastie, Johnstone and Tibshirani 2004 ("Least angle regression").
    """
    return RawData("diabetes", _table("diabetes_data_raw.csv.gz"), _table("diabetes_target.csv.gz"))


def _table(name: str, delimiter: str | None = None, skiprows: int = 0) -> Array:
    # scikit-learn's own loaders import all of it, which takes longer than everything else a sweep
    # does before its first trial.
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "datasets" / "data" / name
    return np.loadtxt(path, np.float64, delimiter=delimiter, skiprows=skiprows)
