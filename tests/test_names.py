"""Every public name stays what it is, whatever was looked up or imported before it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rfprune

NAMES = sorted(set(rfprune.__all__) - {"__version__"})
ROOT = Path(rfprune.__file__).parent
#: The rooms: importing one makes it an attribute of the package, under its own name.
ROOMS = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())
#: Each order in a process of its own, forked from one that has loaded other packages only: their
#: imports take seconds, and are not what is asked.
IN_FRESH_INTERPRETERS = """
import importlib, json, os, sys
import numpy, pydantic, scipy.sparse, torch.fx, yaml

def kinds(steps):
    import rfprune
    for step in steps:
        if step.startswith("import "):
            importlib.import_module(step.removeprefix("import "))
        else:
            getattr(rfprune, step)
    things = {name: getattr(rfprune, name) for name in rfprune.__all__}
    return {
        name: [type(thing).__name__, getattr(thing, "__module__", ""), callable(thing)]
        for name, thing in things.items()
    }

assert not any(name.split(".")[0] == "rfprune" for name in sys.modules)
for steps in json.loads(sys.stdin.read()):
    child = os.fork()
    if child == 0:
        try:
            print(json.dumps(kinds(steps)), flush=True)
        except BaseException as error:
            print(json.dumps(f"{steps}: {type(error).__name__}: {error}"), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def kinds_after(orders: list[list[str]]) -> list[Any]:
    """Return what every public name is after each list of steps."""
    ran = subprocess.run(
        [sys.executable, "-c", IN_FRESH_INTERPRETERS],
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.parent,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_every_public_name_is_a_class_or_a_function() -> None:
    (kinds,) = kinds_after([[]])
    assert set(kinds) == set(rfprune.__all__)
    for name, (kind, module, is_callable) in kinds.items():
        if name != "__version__":
            assert kind in ("function", "type", "ModelMetaclass"), name
            assert module.startswith("rfprune.")
            assert is_callable


def test_a_public_name_is_no_module() -> None:
    """A module with the name of a function would replace the function when it is imported."""
    modules = {path.stem for path in ROOT.iterdir() if not path.name.startswith("_")}
    assert not set(NAMES) & modules


def test_no_two_classes_share_a_name() -> None:
    """Who searches for a class by its name finds one."""
    places: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert len(places) > 200
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert not shared


def orders_that_change_a_name(orders: list[list[str]]) -> list[list[str]]:
    usual, *found = kinds_after([[], *orders])
    assert isinstance(usual, dict)
    assert len(found) == len(orders)
    return [order for order, kinds in zip(orders, found, strict=True) if kinds != usual]


FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@FORKS
def test_names_are_the_same_after_any_one_and_after_all_rooms() -> None:
    orders = [[name] for name in NAMES[::3]]
    orders += [[f"import rfprune.{room}" for room in rooms] for rooms in (ROOMS, ROOMS[::-1])]
    assert not orders_that_change_a_name(orders)


@FORKS
@pytest.mark.slow
def test_names_are_the_same_after_all_others_and_after_any_room() -> None:
    orders = [[first, *(name for name in NAMES[::-1] if name != first)] for first in NAMES[::6]]
    orders += [[f"import rfprune.{room}"] for room in ROOMS]
    assert not orders_that_change_a_name(orders)


CALLS = """
import sys
import rfprune
from rfprune.errors import RunsError

def load():
    rfprune.load("nowhere")

def export():
    from pathlib import Path
    from rfprune.exporting import Request
    from rfprune.results import TrialFolder
    rfprune.export(Request(TrialFolder(Path("nowhere")), 1, Path("nowhere") / "out"))

for name in sys.argv[1:]:
    try:
        {"load": load, "export": export}[name]()
    except RunsError as error:
        print(name, error)
"""


@pytest.mark.parametrize("order", [("export", "load", "export"), ("load", "export", "load")])
def test_loading_and_exporting_do_not_disturb_each_other(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    """Both are really called, on what is not there, and say so in their own words."""
    ran = subprocess.run(
        [sys.executable, "-c", CALLS, *order],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
    )
    assert ran.returncode == 0, ran.stderr
    words = {"load": "load nowhere: has no model.pt", "export": "export nowhere: has no step 1"}
    lines = ran.stdout.splitlines()
    assert len(lines) == len(order)
    assert all(line.startswith(words[name]) for name, line in zip(order, lines, strict=True))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'rfprune' has no attribute 'exprot'"):
        getattr(rfprune, "exprot")  # noqa: B009
