"""The notebooks: kept with their outputs, and they run."""

from __future__ import annotations

import json

import pytest

from docs.notebooks.make import HERE, NAMES
from tests.docs import test_notebooks_of_networks, test_notebooks_with_ray


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_a_run_of_the_cells(name: str) -> None:
    nbformat = pytest.importorskip("nbformat", reason="extra notebook is missing")
    from docs.notebooks.make import notebook

    kept = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    assert [cell.source for cell in kept.cells] == [cell.source for cell in notebook(name).cells]
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_no_notebook_says_where_it_was_run(name: str) -> None:
    text = (HERE / f"{name}.ipynb").read_text()
    assert json.loads(text)["nbformat"] == 4
    assert "/tmp/" not in text
    assert "/home/" not in text


def test_every_notebook_is_run() -> None:
    assert sorted(test_notebooks_with_ray.NAMES + test_notebooks_of_networks.NAMES) == list(NAMES)
