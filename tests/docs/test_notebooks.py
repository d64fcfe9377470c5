"""The notebooks: kept with their outputs, and they run."""

from __future__ import annotations

import importlib.util
import json

import pytest

from docs.notebooks.make import HERE, NAMES, execute


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


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None, reason="extra notebook is missing"
)
def test_a_notebook_runs() -> None:
    """The one that needs no Ray; the others are run by the command that makes them."""
    made = execute("5_export_and_firmware")
    assert made.cells[-1].outputs
