"""The documentation site: pages of ``docs/`` and generated references, built by MkDocs Material.

``python -m docs.site.build [OUT]`` writes HTML that works offline; a warning is an error. Pages
keep their relative links: what a page of the site links to is in the site, links to other files of
the repository become their names.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docs.site import notebooks
from docs.site.reference import command_reference, python_reference, sweep_reference

__all__ = ["assemble", "build"]

ROOT = Path(__file__).parents[2]
#: Pages outside of ``docs/``, by their place in the site.
_FROM_OUTSIDE = {
    "README.md": "index.md",
    "sweeps/README.md": "sweep_files.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/site/extra.css": "extra.css",
}
_GENERATED = {
    "reference/sweep.md": sweep_reference,
    "reference/commands.md": command_reference,
    "reference/python.md": python_reference,
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_LEFT_OUT = ("site", "pictures")


def assemble(into: Path) -> None:
    """Write the Markdown and the pictures of the site into the folder `into`."""
    sources = {
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT / "docs").as_posix()
        for path in (ROOT / "docs").rglob("*")
        if path.is_file()
        and path.relative_to(ROOT / "docs").parts[0] not in _LEFT_OUT
        and path.suffix in (".md", ".png", ".svg", ".json", ".html", ".ipynb")
    }
    sources |= _FROM_OUTSIDE
    # Links to a notebook lead to its page, which has the file beside it.
    pages = {s: p.replace(".ipynb", ".md") for s, p in sources.items()}
    for source, place in sources.items():
        target = into / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if not source.endswith(".md"):
            shutil.copyfile(ROOT / source, target)
        if source.endswith(".ipynb"):
            text = notebooks.page(ROOT / source, target.parent)
            target.with_suffix(".md").write_text(text, encoding="utf-8")
        if not source.endswith(".md"):
            continue
        text = (ROOT / source).read_text(encoding="utf-8")
        target.write_text(_relinked(text, source, place, pages), encoding="utf-8")
    for place, make in _GENERATED.items():
        (into / place).parent.mkdir(parents=True, exist_ok=True)
        (into / place).write_text(make(), encoding="utf-8")


def _relinked(text: str, source: str, place: str, sources: dict[str, str]) -> str:
    """Return a page with its links as they lead within the site."""

    def new(match: re.Match[str]) -> str:
        mark, words, link = match.groups()
        path, _, anchor = link.partition("#")
        if "://" in link or not path:
            return match[0]
        named = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        named = f"{named}/README.md" if f"{named}/README.md" in sources else named
        if named not in sources:
            return f"`{named}`" if words.strip("`") == named else f"{words} (`{named}`)"
        there = posixpath.relpath(sources[named], posixpath.dirname(place) or ".")
        return f"{mark}[{words}]({there}{'#' + anchor if anchor else ''})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else _LINK.sub(new, part) for part in parts)


def build(out: Path) -> int:
    """Build the site into `out`; return the status of MkDocs."""
    source = ROOT / "build" / "site_source"
    shutil.rmtree(source, ignore_errors=True)
    assemble(source)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    command += ["--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(out.resolve())]
    # What the theme prints of a successor would stand where warnings are looked for.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"))
