"""Python objects that are handed over instead of names: kept as files that stand for them.

A network made in a cell of a notebook has no module that a worker, or tomorrow's process, could
import. So an object is pickled by value beside a module of two lines that loads it::

    given/
        given_model_1a2b3c4d.py     given = load(__file__)
        given_model_1a2b3c4d.pkl    the object
        given.json                  what each was made for, and its identity

From then on it is ``given_model_1a2b3c4d:given``, a function of the user's own like any other: it
is imported where functions are, by whoever may run code from that folder, and by nobody else
(`rfprune.core.own_code`). The name changes with the object's content, so that two objects never
meet under one name.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rfprune.core.own_code import own_functions

__all__ = ["FOLDER", "given_files", "load", "module_text"]

#: Name of the folder within a run folder or an export.
FOLDER = "given"
_MODULE = re.compile(r"^given_\w+$")


def load(module: str) -> Any:
    """Return the object that lies beside a module, in the file of the same name.

    Args:
        module: path of the module, its ``__file__``.
    """
    with Path(module).with_suffix(".pkl").open("rb") as file:
        return pickle.load(file)


def module_text(what: str) -> str:
    """Return the module that stands for an object; `what` says for people what it is."""
    return (
        f'"""{what}, as it was handed over in Python."""\n\n'
        f"from {load.__module__} import {load.__name__}\n\n"
        f"given = {load.__name__}(__file__)\n"
    )


def given_files(values: Any) -> Iterator[str]:
    """Yield the files, relative to their folder, of every object in the plain values of a spec."""
    for name in sorted(set(own_functions(values))):
        module = name.partition(":")[0]
        if _MODULE.match(module):
            yield from (f"{module}.py", f"{module}.pkl")
