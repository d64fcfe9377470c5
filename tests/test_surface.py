"""The shape of the whole: rooms import one way, heavy packages stay where they are used."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rfprune

ROOT = Path(rfprune.__file__).parent
REPOSITORY = ROOT.parent
#: Packages that only these rooms may import, wherever in a file.
HEAVY = {
    "hls4ml": {"fpga"},
    "mlflow": {"tracking"},
    "optuna": {"study"},
    "pulp": {"knapsack"},
    "pynvml": {"edge"},
    "timm": {"models"},
    "torchvision": {"models"},
    "ray": {"execution"},
}
LONGEST_FUNCTION = 60
FILES = sorted(ROOT.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every imported module with its line, but not what is there for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            if node.module == "rfprune":
                yield from ((f"rfprune.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield str(node.module), node.lineno
        yield from _imports(node)


def test_heavy_packages_stay_in_their_rooms() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line} imports {module}"
        for path in FILES
        for module, line in _imports(ast.parse(path.read_text()))
        if _room(path) not in HEAVY.get(module.split(".")[0], {_room(path)})
    ]
    assert not wrong


WATCHED = ("torch", *HEAVY, "matplotlib", "pandas", "scipy", "sklearn")
LIGHT = f"""
import sys
{{action}}
print(*sorted(set({WATCHED!r}) & set(sys.modules)))
"""
VERB = """
import contextlib, io
from rfprune.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main({arguments})
"""


@pytest.mark.parametrize(
    "action",
    [
        "import rfprune",
        VERB.format(arguments=["--help"]),
        VERB.format(arguments=["sweep", "--help"]),
        VERB.format(arguments=["list", "models"]),
        VERB.format(arguments=["list", "parts"]),
        "import rfprune.results, rfprune.results.front, rfprune.tracking, rfprune.study",
    ],
)
def test_what_is_light_loads_nothing_heavy(action: str) -> None:
    """A process of its own: here everything is loaded already."""
    ran = subprocess.run(
        [sys.executable, "-c", LIGHT.format(action=action)],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    assert ran.stdout.split() == []


def test_importing_loads_the_standard_library_alone() -> None:
    told = (
        "import sys\nbefore = set(sys.modules)\nimport rfprune\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert ran.stdout.split() == ["rfprune"]


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["list", "--help"]])
def test_help_reads_no_file_format(arguments: list[str]) -> None:
    """What checks files costs more than everything else of a help text."""
    told = "import sys\nprint(*sorted({'numpy', 'yaml', 'rfprune.spec'} & set(sys.modules)))"
    loaded = f"{VERB.format(arguments=arguments)}\n{told}"
    ran = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert ran.stdout.split() == []


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "rfprune", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    assert ran.stdout == f"rfprune {rfprune.__version__}\n"
    assert ran.stderr == ""


def _modules() -> list[str]:
    found = pkgutil.walk_packages([str(ROOT)], "rfprune.")
    return [module.name for module in found if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", ["rfprune", *_modules()])
def test_public_names_exist_and_say_what_they_are(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    for public in getattr(module, "__all__", ()):
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert (inspect.getdoc(thing) or "").strip(), f"{name}.{public} has no docstring"


def _names_from_elsewhere(path: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of everything that a file imports from other files of the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rfprune."):
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_public_names_are_imported(path: Path) -> None:
    hidden = [
        f"{module}.{name}"
        for module, name in _names_from_elsewhere(path)
        if name not in getattr(importlib.import_module(module), "__all__", [name])
        and not _is_module(module, name)
    ]
    assert not hidden


def _is_module(package: str, name: str) -> bool:
    """Return whether `name` is a file of `package`, whether anybody has imported it yet or not."""
    holds_files = hasattr(importlib.import_module(package), "__path__")
    return holds_files and importlib.util.find_spec(f"{package}.{name}") is not None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_fit_on_a_screen(path: Path) -> None:
    long = [
        f"{node.name} has {lines} lines"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := _lines(node)) > LONGEST_FUNCTION
    ]
    assert not long


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without the example in its docstring and its heading."""
    examples = re.findall(r"::\n\n((?: {4,}.*\n|\n)+)", f"{ast.get_docstring(function)}\n")
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    return lines - sum(example.count("\n") + 2 for example in examples)


def _verbs() -> list[str]:
    from typer.main import get_command

    from rfprune.cli.app import app

    return sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", _verbs())
def test_the_help_of_every_verb_has_an_example_that_parses(verb: str) -> None:
    from typer.main import get_command

    from rfprune.cli.app import app

    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    (example,) = [line for line in command.help.splitlines() if line.startswith("Example: ")]
    program, named, *arguments = shlex.split(example.removeprefix("Example: ").split(" > ")[0])
    assert (program, named) == ("rfprune", verb)
    context = command.make_context(verb, arguments)
    assert not context.args


SWEEPS = sorted((REPOSITORY / "sweeps").glob("*.yml"))
EMBEDDED = ("digits", "digits_images")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_are_right(path: Path, tmp_path: Path) -> None:
    from rfprune.cli.common import read_sweep_file
    from rfprune.data import load
    from rfprune.fpga.layers import trace
    from rfprune.study.expand import expand
    from rfprune.trial.dense import new_model

    target = read_sweep_file(str(path), tmp_path)
    assert target.spec.name == path.stem
    assert path.read_text().startswith("# "), "the first line is what 'rfprune list sweeps' shows"
    if target.spec.data.name in EMBEDDED:
        data = load(target.spec.data)
        network = trace(new_model(target.spec, data, path.parent), data.input_shape)
        assert expand(target.spec, network.sizes(target.spec.hardware.io_type)).parameters
