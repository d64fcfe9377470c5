"""What would fail after training, found before it: the untrained network as it will be built.

`check_called` is quick and runs before every trial: what was lowered has to compute what the
user's own module does when it is called. `rehearse` converts the untrained network, compiles the
C++ and compares it with torch on a few rows, layer by layer; a network that has passed is
remembered, by its weights and settings.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.core.files import write_json
from rfprune.core.named import Named, call
from rfprune.core.paths import user_folder
from rfprune.errors import NetworkError, WorkError
from rfprune.fpga.hls import convert, layers_alone
from rfprune.fpga.layers import Plan, fold_batch_norm
from rfprune.fpga.layers.tracing import evaluating

__all__ = ["check_called", "rehearse"]

#: Between two orders of summation in single precision.
_RELATIVE = 1e-3


def _called(model: nn.Module, own: nn.Module, x: Any, parts: list[Tensor]) -> list[Any]:
    """Return the outputs of a user's module on rows, which it must leave as they are."""
    before = [part.clone() for part in parts]
    try:
        found = _tensors(call(own, x))
    except Exception as error:  # the user's own code may do anything
        reason = str(error).split("\n")[0]
        raise NetworkError(
            f"{type(model).__name__}: forward() fails on rows of the data: {reason}."
        ) from error
    if not all(map(torch.equal, parts, before)):
        raise NetworkError(
            f"{type(model).__name__}: forward() changes its input in place, and so the data; "
            "write x = x - c in place of x -= c."
        )
    return found


def check_called(
    model: nn.Module, plan: Plan, x: Any, folded: fx.GraphModule | None = None
) -> None:
    """Compare what was lowered with the user's own module, called as its user calls it.

    Args:
        model: the user's module; it is not changed.
        plan: its plan.
        x: a few rows; of several inputs a `Named`.
        folded: lowered and folded already.

    Raises:
        NetworkError: they differ, or the module answers otherwise in training.
    """
    graph = fold_batch_norm(model, plan.network) if folded is None else folded
    # A copy: calling a module may change its buffers.
    own = copy.deepcopy(model).cpu()
    parts = list(x.parts.values()) if isinstance(x, Named) else [x]
    with evaluating(own), torch.no_grad():
        called = _called(model, own, x, parts)
        ours = _tensors(graph(*parts))
    if [key for key, _ in called] != [key for key, _ in ours]:
        raise NetworkError(_differs(model, "other outputs"))
    for (key, theirs), (_, value) in zip(called, ours, strict=True):
        # Relative to the largest output, but never to less than 1: outputs near 0 differ by
        # rounding.
        scale = float(theirs.abs().max().clamp_min(1.0))
        gap = float((theirs - value).abs().max()) if theirs.shape == value.shape else None
        if gap is None or not gap <= _RELATIVE * scale:
            off = (
                f"output {key or 'it'} is off by {gap:.3g}" if gap is not None else "shapes differ"
            )
            raise NetworkError(_differs(model, off))
    own.train()
    # What dropout draws here must not change what is drawn afterwards.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        trained = _tensors(call(own, x))
    if [key for key, _ in trained] != [key for key, _ in called]:
        raise NetworkError(
            f"{type(model).__name__}: puts out {_named(trained)} in training and {_named(called)} "
            "in evaluation; rfprune takes networks that put out the same in both. Return the "
            "auxiliary outputs in neither."
        )


def _tensors(output: Any) -> list[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        return [("", output)]
    items = output.items() if isinstance(output, Mapping) else enumerate(output)
    return [(str(key), part) for key, part in items]


def _named(outputs: list[tuple[str, Tensor]]) -> str:
    if [key for key, _ in outputs] == [""]:
        return "one tensor"
    return f"{len(outputs)} ({', '.join(key for key, _ in outputs)})"


def _differs(model: nn.Module, how: str) -> str:
    hooked = [
        path or "the network itself"
        for path, module in model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]
    why = f"hooks at {', '.join(hooked)}" if hooked else "something that forward() does not show"
    return (
        f"{type(model).__name__}: computes something else when it is called than its forward() "
        f"says ({how}; {why}), and only what forward() says would be built. Put it into forward()."
    )


def rehearse(model: nn.Module, plan: Plan, x: Any) -> str:
    """Convert an untrained network, and compare its C++ with torch.

    Args:
        model: the network.
        plan: strategy, reuse factor and types per layer.
        x: a few rows.

    Returns:
        What was done, in one sentence.

    Raises:
        NetworkError: hls4ml would fail, or build something else, after the training.
    """
    if shutil.which("g++") is None:
        _converted(model, plan)
        return (
            "g++ was not found: hls4ml converts the untrained network, but its C++ was not "
            "compared with torch."
        )
    passed = user_folder("cache") / "rehearsals" / f"{_digest(model, plan, x)}.json"
    if passed.exists():
        return "hls4ml converts the untrained network, and its C++ is torch's (compared before)."
    begun = time.monotonic()
    _converted(model, plan, x)
    seconds = round(time.monotonic() - begun, 1)
    # Only what has passed is remembered; a failure is looked at again. A cache that cannot be
    # written costs time, and nothing else.
    with contextlib.suppress(OSError):
        write_json(passed, {"seconds": seconds})
    return (
        f"hls4ml converts the untrained network, and its C++ is torch's on {len(x)} rows "
        f"({seconds:g} s, once for this network and these settings)."
    )


def _converted(model: nn.Module, plan: Plan, x: Any = None) -> None:
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        try:
            conversion = convert(model, plan, Path(scratch) / "hls")
            if x is None:
                return
            conversion.write()
            layers = layers_alone(conversion, x)
        except WorkError as error:
            raise NetworkError(f"the untrained network fails in hls4ml already: {error}") from error
    wrong = next((layer for layer in layers if not layer.agrees), None)
    if wrong is not None:
        raise NetworkError(
            f"{wrong.name}: hls4ml builds something else than torch computes: off by up to "
            f"{wrong.largest_error:g} on equal inputs (allowed: {wrong.tolerance:g})."
        )


def _digest(model: nn.Module, plan: Plan, x: Any) -> str:
    """Return a hash of everything that decides what is built and compared."""
    from importlib.metadata import version

    found = hashlib.sha256()
    facts = [
        plan.hardware.model_dump(mode="json"),
        [repr(operation) for operation in plan.network.operations],
        version("hls4ml"),
        version("rfprune"),
    ]
    found.update(json.dumps(facts, sort_keys=True).encode())
    tensors = [*model.state_dict().values(), *(x.parts.values() if isinstance(x, Named) else [x])]
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:32]
