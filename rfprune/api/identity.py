"""Whether two Python objects are the same program, though they come from two processes.

A notebook that is run again makes its network anew: another object, with other random weights, of
the same code. The sweep that it began must continue with it. So the identity of what is handed
over is made of what its code does (bytecode, constants, names, defaults, enclosed values, and the
same of everything of the user's own that it calls), of a network's structure, and not of its
weights.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

from rfprune.core.digests import sha256_of

__all__ = ["identity", "is_own_module"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_DEEPEST = 12


def is_own_module(name: str | None) -> bool:
    """Return whether a module is of the user's own: in no installed package, and not ours."""
    root = (name or "").partition(".")[0]
    if root in ("__main__", "__mp_main__"):
        return True
    if not root or root == "rfprune" or root in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(root), "__file__", None) or next(
        iter(getattr(sys.modules.get(root), "__path__", ())), None
    )
    if file is None:
        return False
    path = Path(file).resolve()
    parts = {"site-packages", "dist-packages"} & set(path.parts)
    return not parts and not any(path.is_relative_to(place) for place in _installed())


@functools.cache
def _installed() -> frozenset[str]:
    """Return the folders of installed packages; Python takes a millisecond to name one."""
    places = (sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib"))
    return frozenset(place for place in places if place)


def identity(thing: Any) -> str:
    """Return 64 hex digits: equal for the same code and structure, whatever process made it."""
    return sha256_of(repr(_facts(thing, 0, frozenset())))


def _facts(thing: Any, depth: int, above: frozenset[int]) -> Any:
    """Return plain values that say what `thing` does."""
    if depth > _DEEPEST or id(thing) in above:
        return "..."
    inner = functools.partial(_facts, depth=depth + 1, above=above | {id(thing)})
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        return repr(thing)
    if isinstance(thing, list | tuple):
        return [type(thing).__name__, *(inner(each) for each in thing)]
    if isinstance(thing, set | frozenset):
        return ["set", *sorted(repr(inner(each)) for each in thing)]
    if isinstance(thing, dict):
        return ["dict", *([repr(key), inner(value)] for key, value in thing.items())]
    if isinstance(thing, types.CodeType):
        consts = [inner(each) for each in thing.co_consts]
        return ["code", thing.co_code.hex(), thing.co_names, thing.co_varnames, consts]
    if isinstance(thing, functools.partial):
        return ["partial", inner(thing.func), inner(thing.args), inner(thing.keywords)]
    if isinstance(thing, types.MethodType):
        return ["method", inner(thing.__func__), inner(thing.__self__)]
    if isinstance(thing, types.FunctionType):
        return _of_function(thing, inner)
    if inspect.isclass(thing):
        return _of_class(thing, inner)
    if hasattr(thing, "__array__") and hasattr(thing, "shape"):
        return ["array", tuple(thing.shape), str(thing.dtype)]
    if isinstance(thing, types.ModuleType | types.BuiltinFunctionType):
        return ["named", getattr(thing, "__module__", ""), thing.__name__]
    # A network prints its structure; of other objects all but the address counts.
    shown = _ADDRESS.sub("", repr(thing))
    return ["object", inner(type(thing)), shown, inner(_own_state(thing))]


def _of_function(thing: types.FunctionType, inner: Any) -> Any:
    if not is_own_module(thing.__module__):
        return ["named", thing.__module__, thing.__qualname__]
    cells = []
    for cell in thing.__closure__ or ():
        try:
            cells.append(inner(cell.cell_contents))
        except ValueError:  # a cell that is filled later, by a recursive function for instance
            cells.append("empty")
    used = {
        name: inner(thing.__globals__[name])
        for name in _names(thing.__code__)
        if name in thing.__globals__
    }
    return [
        "function",
        inner(thing.__code__),
        inner(thing.__defaults__),
        cells,
        sorted(used.items()),
    ]


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code, and the code within it, looks up."""
    nested = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*(_names(each) for each in nested))


def _of_class(thing: type, inner: Any) -> Any:
    if not is_own_module(thing.__module__):
        return ["named", thing.__module__, thing.__qualname__]
    members = {
        name: inner(getattr(value, "__func__", value))
        for name, value in vars(thing).items()
        if name in ("__init__", "__call__") or not name.startswith("__")
    }
    return ["class", thing.__qualname__, [inner(base) for base in thing.__bases__], members]


def _own_state(thing: Any) -> dict[str, Any]:
    """Return the attributes of an object but those that only its weights and caches are in."""
    state = getattr(thing, "__dict__", {})
    return {
        name: value
        for name, value in state.items()
        if not name.startswith("_") or name in ("_modules", "_parameters", "_buffers")
    }
