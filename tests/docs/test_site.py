"""The documentation site: what is generated says something of everything, and it builds."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest
import yaml

import rfprune
from docs.pictures.browser import find_browser, open_page
from docs.pictures.site import wider_than_screen
from docs.site import build
from docs.site.reference import (
    command_reference,
    descriptions,
    keys,
    members,
    python_reference,
    returned,
    sweep_reference,
)


def test_every_key_has_a_meaning_and_an_example_that_is_yaml() -> None:
    found = keys()
    assert len(found) > 150
    for key in found:
        assert key.meaning, key.path
        example = yaml.safe_load(key.example)
        assert list(example) == [key.path.rpartition(".")[2]], key.path


def test_every_public_name_and_command_is_in_the_references() -> None:
    page = python_reference()
    for name in rfprune.__all__:
        if not name.startswith("_"):
            _, _, rest = page.partition(f"\n## rfprune.{name}\n")
            assert len(rest.split("\n## ")[0]) > 80, name
    assert "\n### rfprune.Sweep.best\n" in page
    commands = command_reference()
    assert all(f"\n## rfprune {verb}\n" in commands for verb in ("check", "sweep", "ui", "list"))
    assert sweep_reference().count("\n| `") == len(keys())


def test_every_function_names_its_arguments_and_errors() -> None:
    functions = [getattr(rfprune, name) for name in rfprune.__all__ if name != "__version__"]
    methods = [*vars(rfprune.Point).values(), *vars(rfprune.Sweep).values()]
    for each in filter(inspect.isfunction, functions + methods):
        if each.__name__.startswith("_"):
            continue
        said = inspect.getdoc(each) or ""
        assert "Raises:\n" in said, each.__qualname__
        for name in inspect.signature(each).parameters:
            row = rf"Args:\n(.*\n)*    (\w+, )*{name}(, \w+)*: "
            assert name == "self" or re.search(row, said), (each.__qualname__, name)


def test_everything_that_a_result_has_is_described() -> None:
    page = python_reference()
    for kind in returned():
        said = "\n".join(descriptions(kind))
        for base in kind.__mro__:
            for name in vars(base).get("__annotations__", {}):
                row = rf"Attributes:\n(.*\n)*    (\w+, )*{name}(, \w+)*: "
                own = base.__module__.startswith("rfprune.") and name[0] != "_"
                assert not own or re.search(row, said), (kind.__name__, name)
        for name, value in members(kind).items():
            words = inspect.getdoc(value) or ""
            assert f"\n### {kind.__name__}.{name}\n" in page
            assert words, (kind.__name__, name)
            taken = () if isinstance(value, property) else inspect.signature(value).parameters
            for argument in set(taken) - {"self", "cls"}:
                assert re.search(rf"\b{argument}\b", words), (kind.__name__, name, argument)


def test_signatures_are_those_that_a_user_types() -> None:
    page = python_reference()
    assert " object at 0x" not in page
    assert "<function" not in page
    assert "\nrfprune.SweepSpec(**keys)\n" in page
    assert "\n### rfprune.Point.step\n\n```python\nstep: int\n```" in page


def test_links_of_pages_lead_within_the_site(tmp_path: Path) -> None:
    build.assemble(tmp_path)
    index = (tmp_path / "index.md").read_text()
    assert "](python.md)" in index
    assert "](sweep_files.md)" in index
    assert "](docs/" not in index


def test_notebooks_are_pages_with_what_their_cells_showed(tmp_path: Path) -> None:
    build.assemble(tmp_path)
    index = (tmp_path / "notebooks" / "README.md").read_text()
    assert "](4_reading_a_front.md)" in index
    page = (tmp_path / "notebooks" / "4_reading_a_front.md").read_text()
    assert page.startswith("# Reading a front")
    assert "```python\nruns.plot" in page
    pictures = re.findall(r"\]\((\w+\.png)\)", page)
    assert len(pictures) == 2
    assert all((tmp_path / "notebooks" / name).stat().st_size > 1000 for name in pictures)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="extra docs is missing")
def test_the_site_builds_without_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert build.build(tmp_path) == 0
    assert "".join(capfd.readouterr()) == ""
    if find_browser() is None:
        return
    # Wide tables and code are moved by themselves: on a phone, no page is.
    with open_page(390, 844) as page:
        for path in (*tmp_path.glob("*.html"), *tmp_path.glob("reference/*.html")):
            page.goto(path.as_uri())
            assert wider_than_screen(page) <= 0, path.name
