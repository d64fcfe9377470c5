"""The optional packages of the extra ``edge`` that hold networks: torchvision and timm.

torchvision's published wheel is compiled for a CUDA build of torch. Beside a CPU build its compiled
part does not load, and then its Python part stops at the first operator that it expects there. The
networks need none of these operators, so they are declared, without a body, where they are missing.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from rfprune.errors import MissingExtraError

__all__ = ["declare_missing_operators", "import_package"]

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_package(name: str, model: str) -> ModuleType:
    """Import torchvision or timm, also beside a CPU build of torch.

    Args:
        name: the package, or a module in it.
        model: the network that needs it, for the message.

    Raises:
        MissingExtraError: it is not installed.
    """
    declare_missing_operators()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"model '{model}' needs the package {name.split('.')[0]} ({error}); install the extra: "
            "pip install 'rfprune[edge]'."
        ) from error


@cache
def declare_missing_operators() -> object:
    """Make torchvision importable, where it is installed; returns what must be kept alive."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    torch = cast(Any, importlib.import_module("torch"))
    compiled = next(Path(spec.origin).parent.glob("_C.*"), None)
    try:
        if compiled is not None:
            # Where it loads, torchvision's own operators are used.
            return torch.ops.load_library(str(compiled))
    except OSError:
        pass
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(f"nms{_NMS}")
    library.define(f"qnms{_NMS}")
    return library
