"""No dead code: every function and class is reached from a command or a public name."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import rfprune

ROOT = Path(rfprune.__file__).parent
Name = tuple[str, str]  #: module and top-level name
_TARGET = re.compile(r"^(rfprune[\w.]*):(\w+)$")


@cache
def _trees() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


def _imports(tree: ast.AST) -> dict[str, Name]:
    """Return what local names stand for, wherever in the tree they are imported."""
    found: dict[str, Name] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rfprune"):
            for alias in node.names:
                found[alias.asname or alias.name] = (str(node.module), alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("rfprune."):
                    found[alias.asname or alias.name.split(".")[0]] = (alias.name, "")
    return found


@cache
def _imports_of(module: str) -> dict[str, Name]:
    return _imports(_trees()[module])


@cache
def _definitions(module: str) -> dict[str, list[ast.stmt]]:
    """Return the top-level statements of a module that bind each name."""
    found: dict[str, list[ast.stmt]] = {}
    for node in _trees()[module].body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.setdefault(node.name, []).append(node)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name) and name.id != "__all__":
                    found.setdefault(name.id, []).append(node)
    return found


def _origin(name: Name) -> Name | None:
    """Follow re-exports to the module that defines a name; a module itself has no name."""
    module, attribute = name
    for _ in range(10):
        if module in _trees() and attribute in _definitions(module):
            return module, attribute
        imported = _imports_of(module).get(attribute) if module in _trees() else None
        # A package's function may have the name of its module, as `rfprune.knapsack.solve` does.
        if imported is not None and imported != (module, attribute):
            module, attribute = imported
        elif f"{module}.{attribute}" in _trees():
            return f"{module}.{attribute}", ""
        else:
            return None
    return None


def _used(module: str, nodes: list[ast.stmt]) -> Iterator[Name]:
    """Yield what some statements of a module mention."""
    imported = _imports_of(module)
    for node in (inner for statement in nodes for inner in ast.walk(statement)):
        if isinstance(node, ast.Name):
            if node.id in imported:
                yield imported[node.id]
            elif node.id in _definitions(module):
                yield module, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            origin = _origin(imported[node.value.id]) if node.value.id in imported else None
            if origin is not None and origin[1] == "":
                yield origin[0], node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Rows of tables name what they stand for; some files name a module alone.
            if match := _TARGET.match(node.value):
                yield match[1], match[2]
            elif node.value in _trees():
                for name in _definitions(node.value):
                    yield node.value, name


def _loose(module: str) -> list[ast.stmt]:
    """Return the statements that run when a module is imported, definitions aside."""
    kept = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    return [node for node in _trees()[module].body if not isinstance(node, kept)]


def _reached() -> set[Name]:
    roots = [("rfprune", name) for name in rfprune.__all__]
    roots += [(m, n) for m in _trees() if m.startswith("rfprune.cli") for n in _definitions(m)]
    roots += [name for module in _trees() for name in _used(module, _loose(module))]
    seen: set[Name] = set()
    waiting = [origin for root in roots if (origin := _origin(root)) is not None]
    homes = dict(rfprune._HOMES)
    waiting += [o for name, home in homes.items() if (o := _origin((home, name))) is not None]
    while waiting:
        name = waiting.pop()
        if name in seen or name[1] == "":
            continue
        seen.add(name)
        for used in _used(name[0], _definitions(name[0])[name[1]]):
            origin = _origin(used)
            if origin is not None and origin not in seen:
                waiting.append(origin)
    return seen


#: What only a cluster's job script, a scheduler or a user's plug-in calls.
_CALLED_FROM_OUTSIDE = {("rfprune.execution.launch.entry", "main")}


def test_everything_is_reached_from_a_command_or_a_public_name() -> None:
    reached = _reached() | _CALLED_FROM_OUTSIDE
    unreached = [
        f"{module}:{name}"
        for module in _trees()
        for name, nodes in _definitions(module).items()
        if isinstance(nodes[0], ast.FunctionDef | ast.ClassDef)
        and (module, name) not in reached
        and not name.startswith("__")
    ]
    assert not unreached


def _mentioned() -> set[str]:
    """Return what is read of any object; a method does not count where it calls its own name."""
    found: set[str] = set()
    waiting: list[tuple[ast.AST, frozenset[str]]] = [(t, frozenset()) for t in _trees().values()]
    while waiting:
        node, inside = waiting.pop()
        # Some attributes are asked for by name, with `getattr` or in a table of columns.
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
        if isinstance(name, str) and name not in inside:
            found.add(name)
        if isinstance(node, ast.FunctionDef):
            inside |= {node.name}
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]
    return found


def _methods() -> Iterator[tuple[str, str, str]]:
    """Yield module, class and name of every public method and property."""
    for module, tree in _trees().items():
        for node in tree.body:
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield module, node.name, inner.name


def _declared_elsewhere(module: str, owner: str, name: str) -> bool:
    """Return whether a class of another package declares a method, and therefore calls it."""
    bases = getattr(importlib.import_module(module), owner).__mro__
    return any(hasattr(b, name) for b in bases if not b.__module__.startswith("rfprune"))


#: What is for programs of the user alone, on what `rfprune.load_adaptive` and `sweep` return.
_FOR_PROGRAMS = {
    *("resume", "power_budget_share", "memory_bytes", "after_backward", "after_step"),
    "mT",  # of a recorded tensor, where a network's forward asks for it
}


def test_every_method_is_called_somewhere() -> None:
    mentioned = _mentioned() | _FOR_PROGRAMS
    unreached = [
        f"{module}:{owner}.{name}"
        for module, owner, name in _methods()
        if name not in mentioned and not _declared_elsewhere(module, owner, name)
    ]
    assert not unreached


def test_the_search_itself_sees_what_is_not_called() -> None:
    """The oracle: a name that stands in no command's way must not count as reached."""
    assert ("rfprune.pruning.scores", "score_groups") in _reached()
    assert ("rfprune.nowhere", "nothing") not in _reached()
    assert "masked_merit" in _mentioned()
    # Ray calls it; nothing here does.
    hook = ("rfprune.execution.searcher", "StopRequest", "stop_all")
    assert hook in set(_methods())
    assert "stop_all" not in _mentioned()
    assert _declared_elsewhere(*hook)
    assert not _declared_elsewhere("rfprune.pruning.session", "Session", "masked_merit")
