"""A page for people: Markdown, and the same as an HTML page that works offline."""

from __future__ import annotations

import base64
import html
from importlib.resources import files
from pathlib import Path

from markdown_it import MarkdownIt

__all__ = ["PICTURE", "write_page"]

#: File of the picture, beside the page.
PICTURE = "front.png"


def write_page(folder: Path, title: str, markdown: str, picture: bytes | None = None) -> None:
    """Write ``report.md``, ``report.html`` and, if there is one, the picture that they show.

    Args:
        folder: of the export.
        title: of the page.
        markdown: what it says, with the picture as ``![...](front.png)``.
        picture: PNG.
    """
    (folder / "report.md").write_text(f"# {title}\n\n{markdown}\n", encoding="utf-8")
    # Names may come from a stranger's files: raw HTML in them is shown as text, never rendered.
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = renderer.render(markdown)
    if picture is not None:
        (folder / PICTURE).write_bytes(picture)
        data = base64.b64encode(picture).decode()
        body = body.replace(f'src="{PICTURE}"', f'src="data:image/png;base64,{data}"')
    page = files("rfprune.exporting").joinpath("report.html").read_text(encoding="utf-8")
    page = page.replace("__TITLE__", html.escape(title)).replace("__BODY__", body)
    (folder / "report.html").write_text(page, encoding="utf-8")
