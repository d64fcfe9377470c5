"""Notebooks as pages of the site: text, code, and what the cells showed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["page"]


def page(notebook: Path, beside: Path) -> str:
    """Return a notebook as Markdown; its pictures become files.

    Args:
        notebook: the ``.ipynb`` file, with outputs.
        beside: folder of the page, for the pictures.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    note = f"*[{notebook.name}]({notebook.name}) as it was run; download it to go on from here.*"
    parts: list[str] = []
    for number, cell in enumerate(cells):
        text = _text(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for place, output in enumerate(cell["outputs"]):
            parts += _shown(output, beside, f"{notebook.stem}_{number}_{place}")
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, note, rest.strip(), *parts[1:]]) + "\n"


def _shown(output: dict[str, Any], beside: Path, name: str) -> Iterator[str]:
    """Yield what a cell showed, in the best of the forms that are kept."""
    data = output.get("data", {})
    text = _text(output.get("text", data.get("text/plain", "")))
    if "image/png" in data:
        (beside / f"{name}.png").write_bytes(base64.b64decode(_text(data["image/png"])))
        yield f"![{text}]({name}.png)"
    elif _text(data.get("text/html", "")).lstrip().startswith(("<div", "<table")):
        # An empty line would end the block of HTML.
        html = "\n".join(line for line in _text(data["text/html"]).split("\n") if line.strip())
        yield f'<div class="output">{html}</div>'
    elif text.strip() and "HTML object" not in text:
        yield f"```text\n{text.rstrip()}\n```"


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)
