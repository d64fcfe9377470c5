"""What the README and the method page show must work: files parse, commands and links exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from rfprune.cli.app import app
from rfprune.registry import resolve
from rfprune.spec import SweepSpec
from rfprune.spec.files import parse_spec, parse_yaml
from tests.test_surface import ROOMS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "sweeps" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Return every rfprune command in a block without a language."""
    lines = [line for page in PAGES for block in blocks(page, "") for line in block.split("\n")]
    return [line.split("#")[0].strip() for line in lines if line.startswith("rfprune ")]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "sweeps" / "README.md"], ids=str)
def test_sweep_files_in_the_text_are_right(page: Path) -> None:
    found = blocks(page, "yaml")
    assert found
    for block in found:
        parse_spec(SweepSpec, parse_yaml(block, page.name), page.name)


@pytest.mark.parametrize("command", commands())
def test_commands_in_the_text_parse(command: str) -> None:
    words = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    verb = group.commands[words[0]]  # type: ignore[attr-defined]
    verb.make_context(words[0], words[1:], resilient_parsing=False)


def test_python_in_the_text_names_what_exists() -> None:
    for block in blocks(ROOT / "README.md", "python"):
        for name in re.findall(r"rfprune\.(\w+)\(", block):
            assert callable(resolve(f"rfprune:{name}"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_files_named_in_the_table_of_additions_exist() -> None:
    named = re.findall(r"`((?:rfprune|cluster|sweeps)/[\w/.]*)`", ARCHITECTURE)
    assert len(named) > 20
    for target in named:
        assert (ROOT / target).exists(), target


def test_tables_named_among_the_additions_are_where_they_are_said_to_be() -> None:
    named = re.findall(r"`(\w+)`(?: or `(\w+)`)? (?:of|in) `(rfprune/[\w/]+\.py)`", ARCHITECTURE)
    assert len(named) > 10
    for *names, target in named:
        text = (ROOT / target).read_text()
        for name in filter(None, names):
            assert re.search(rf"^(def |class )?{name}\b", text, re.MULTILINE), f"{target}: {name}"


def test_rooms_are_shown_in_the_order_in_which_they_import() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", ARCHITECTURE.split("## ")[0], re.MULTILINE)
    shown = [room for row in rows for room in re.findall(r"`(\w+)`", row)]
    assert tuple(shown) == ROOMS
