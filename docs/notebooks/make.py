"""The notebooks, written here as cells and executed into ``docs/notebooks/*.ipynb``.

``python -m docs.notebooks.make [NAME...]`` runs them (each under three minutes on two cores) and
keeps their outputs; needs the extra ``notebook``. Text is Markdown, code is what follows ``%%``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["NAMES", "execute", "notebook"]

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in HERE.glob("*.cells")))
_SECONDS = 300


def notebook(name: str) -> Any:
    """Return the notebook of a file of cells, without outputs."""
    import nbformat

    made = nbformat.v4.new_notebook()
    text = (HERE / f"{name}.cells").read_text(encoding="utf-8")
    for index, part in enumerate(text.split("\n----\n")):
        kind, _, body = (
            part.strip().partition("\n") if part.lstrip().startswith("%%") else ("", "", part)
        )
        new = nbformat.v4.new_code_cell if kind else nbformat.v4.new_markdown_cell
        cell = new(body.strip())
        # Random ids would change the file with every run.
        cell["id"] = f"{name}-{index}"
        made.cells.append(cell)
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return made


def execute(name: str) -> Any:
    """Return the notebook with the outputs of a run in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    from nbclient import NotebookClient

    made = notebook(name)
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), *sys.path])
        NotebookClient(made, timeout=_SECONDS, resources={"metadata": {"path": scratch}}).execute()
        for cell in made.cells:
            cell.metadata.pop("execution", None)
            for output in cell.get("outputs", ()):
                _without_places(output, scratch)
    return made


def _without_places(output: Any, scratch: str) -> None:
    """Leave out where the notebook was run."""
    for key in ("text", "data"):
        if isinstance(output.get(key), str):
            output[key] = output[key].replace(f"{scratch}/", "")
    for kind, text in output.get("data", {}).items():
        if isinstance(text, str):
            output["data"][kind] = text.replace(f"{scratch}/", "")


if __name__ == "__main__":
    import nbformat

    for chosen in sys.argv[1:] or NAMES:
        nbformat.write(execute(chosen), HERE / f"{chosen}.ipynb")
        print(chosen, flush=True)
