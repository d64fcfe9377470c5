"""A notebook, run in an empty folder, beside what is kept of it."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from docs.notebooks.make import HERE, execute

__all__ = ["check_a_run_of", "slow_notebooks"]

slow_notebooks = [
    pytest.mark.slow,
    # Ray may take longer to start than it allows itself.
    pytest.mark.flaky(reruns=1),
    pytest.mark.skipif(
        importlib.util.find_spec("nbclient") is None, reason="extra notebook is missing"
    ),
]


def check_a_run_of(name: str) -> None:
    """Run a notebook; its cells show what is kept, of the same kinds: tables, pictures, text."""
    import nbformat

    kept = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    made = execute(name)
    assert [_kinds(cell) for cell in made.cells] == [_kinds(cell) for cell in kept.cells]


def _kinds(cell: Any) -> set[str]:
    """Return the kinds of a cell's results: what a cell says meanwhile depends on the machine."""
    results = (o for o in cell.get("outputs", ()) if o.output_type == "execute_result")
    return {kind for result in results for kind in result.data}
