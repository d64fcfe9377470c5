"""Samplers that are not ours: the user's own classes, and packages of OptunaHub.

A package of OptunaHub is a folder with an ``__init__.py`` that names its samplers in ``__all__``.
It is taken from a folder beside the sweep file, from the one that ``$RFPRUNE_HUB`` names, or from
what is installed; nothing is fetched, since clusters often have no network.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rfprune.core.registry import importable, nearest, resolve
from rfprune.errors import RfpruneError, SpecError, WorkError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["HUB", "is_own", "make_own", "naming_its_faults"]

#: What the name of a package of OptunaHub begins with.
HUB = "hub:"
#: Folder of packages that samplers are looked for in, a copy of the hub's registry for instance.
VARIABLE = "RFPRUNE_HUB"
#: Where a package lies in a folder of packages: by itself, in the hub's registry, or in a part.
_PLACES = ("{}", "samplers/{}", "package/samplers/{}", "package/{}")


def is_own(name: str) -> bool:
    """Return whether a sampler is named by a package or class rather than by a name of ours."""
    return ":" in name


@contextmanager
def naming_its_faults(name: str) -> Iterator[None]:
    """Say which sampler has failed, where it is not ours and fails in the middle of a sweep.

    Raises:
        WorkError: names the sampler and what it said.
    """
    try:
        yield
    except (RfpruneError, OSError):
        raise
    except Exception as error:
        if not is_own(name):
            raise
        reason = str(error).split("\n")[0]
        raise WorkError(
            f"sampler '{name}' cannot draw a point ({type(error).__name__}: {reason}). Finished "
            "work is kept; it may not be made for this search space or these objectives."
        ) from error


def make_own(name: str, args: Mapping[str, Any], seed: int, base_dir: Path) -> BaseSampler:
    """Return the sampler that ``hub:PACKAGE``, ``hub:PACKAGE:Class`` or ``module:Class`` names.

    Args:
        name: of the sampler.
        args: keyword arguments of its class.
        seed: handed on as ``seed`` where the class takes one and `args` does not give it.
        base_dir: folder of the sweep file, where packages and modules are looked for first.

    Raises:
        SpecError: it cannot be found or imported, is no sampler of Optuna, or refuses `args`.
    """
    from optuna.samplers import BaseSampler

    source = f"sampler.name: '{name}'"
    with importable(base_dir):
        if name.startswith(HUB):
            package, _, wanted = name.removeprefix(HUB).partition(":")
            found = _class_of(_package(package, base_dir, source), wanted, source)
        else:
            try:
                found = resolve(name)
            except RfpruneError as error:
                raise SpecError(f"sampler.name: {error}") from None
        if not (isinstance(found, type) and issubclass(found, BaseSampler)):
            raise SpecError(f"{source}: is no class of samplers (a subclass of BaseSampler).")
        takes = inspect.signature(found).parameters
        known = {"seed": seed} if "seed" in takes and "seed" not in args else {}
        try:
            return found(**{**known, **args})
        except Exception as error:  # the class of somebody else may fail in any way
            reason = str(error).split("\n")[0]
            raise SpecError(
                f"{source}: cannot be made with sampler.args {dict(args)} "
                f"({type(error).__name__}: {reason}). It takes: {', '.join(takes)}."
            ) from None


def _package(name: str, base_dir: Path, source: str) -> ModuleType:
    """Import a package of OptunaHub from the first place that has it."""
    roots = [base_dir, Path.cwd()]
    if VARIABLE in os.environ:
        roots.append(Path(os.environ[VARIABLE]))
    for root in roots:
        for place in _PLACES:
            path = root / place.format(name) / "__init__.py"
            if path.is_file():
                return _import_folder(path, source)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(source, error) from None
        close = nearest(name, _packages(roots))
        raise SpecError(
            f"{source}: no such package beside the sweep file, in the current folder, in "
            f"${VARIABLE} or among what is installed.{close} Copy its folder there; nothing is "
            "downloaded."
        ) from None
    except Exception as error:
        raise _broken(source, error) from None


def _packages(roots: list[Path]) -> Iterator[str]:
    """Yield the names of the packages in some folders."""
    for root in roots:
        for place in _PLACES:
            folder = root / place.format("x")
            for path in folder.parent.glob("*/__init__.py"):
                yield path.parent.name


def _import_folder(path: Path, source: str) -> ModuleType:
    """Import a package by its file: its name need not be on the import path."""
    # Relative imports within it need it under this name among the loaded modules.
    name = f"rfprune_hub_{path.parent.name}"
    if (known := sys.modules.get(name)) is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[str(path.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _broken(source, error) from None
    return module


def _broken(source: str, error: Exception) -> SpecError:
    reason = str(error).split("\n")[0]
    return SpecError(f"{source}: cannot be imported ({type(error).__name__}: {reason}).")


def _class_of(module: ModuleType, wanted: str, source: str) -> Any:
    """Return the sampler of a package: the one that is wanted, or the only one."""
    from optuna.samplers import BaseSampler

    public = getattr(module, "__all__", [n for n in dir(module) if not n.startswith("_")])
    classes = {
        name: found
        for name in public
        if isinstance(found := getattr(module, name, None), type) and issubclass(found, BaseSampler)
    }
    if wanted in classes:
        return classes[wanted]
    listed = ", ".join(classes) or "none"
    if wanted:
        raise SpecError(
            f"{source}: has no sampler '{wanted}'.{nearest(wanted, classes)} It has: {listed}."
        )
    if len(classes) != 1:
        raise SpecError(
            f"{source}: has {len(classes)} samplers ({listed}). Allowed: "
            "hub:PACKAGE:Class, which names one."
        )
    return next(iter(classes.values()))
