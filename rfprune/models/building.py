"""From a `ModelSpec` to a network that fits its data."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rfprune.errors import NetworkError, RfpruneError, SpecError
from rfprune.models.checkpoint import Checkpoint, load_checkpoint, read_state_dict
from rfprune.models.extra_packages import declare_missing_operators
from rfprune.models.spec import ModelSpec
from rfprune.models.table import MODELS
from rfprune.registry import importable, nearest, resolve

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["architecture", "build"]

_GIVEN = ("input_shape", "n_classes")
_Builder = Callable[..., Any]


def build(
    spec: ModelSpec,
    input_shape: tuple[int, ...],
    n_classes: int,
    base_dir: Path | None = None,
) -> nn.Module:
    """Build a network on the CPU, in training mode, with initial or saved weights.

    Weights of 2-D convolutions lie channels-last in memory (their shape is as always), in which
    convolutions and pooling are a fifth to a third faster to train and twice as fast to evaluate.

    The initial weights come from torch's global generator: seed it before. A user's
    ``package.module:function`` is imported with ``base_dir`` and the current folder on the path,
    and gets ``args`` and, where its signature has them, ``input_shape`` and ``n_classes``.

    Args:
        spec: which network.
        input_shape: shape of one sample, without the batch axis.
        n_classes: number of classes; the output must have shape (N, n_classes).
        base_dir: folder of the file that holds ``spec``, for relative paths and modules.

    Raises:
        SpecError: arguments that the network's function does not take.
        UnknownNameError: no such network, module or function.
        NetworkError: the function failed, the file is not readable or refused, weights are not
            finite, or the network does not fit the data.
    """
    path, state = None, None
    if spec.is_file:
        path = _find(spec.name, base_dir, "model.name")
        saved = load_checkpoint(path)
        _check_fit(saved, path, tuple(input_shape), n_classes)
        spec, state = _trusted(saved, path, spec.name), saved.state_dict
    elif spec.weights is not None:
        path = _find(spec.weights, base_dir, "model.weights")
        state = read_state_dict(path)
    with importable(base_dir):
        model = _construct(spec, tuple(input_shape), n_classes)
    if path is not None and state is not None:
        _load_weights(model, _without_head(model, state) if spec.new_head else state, path)
    _check_finite(model, spec.name if path is None else str(path))
    _dry_run(model, spec.name, tuple(input_shape), n_classes)
    return _channels_last(model, tuple(input_shape)).train()


def _channels_last(model: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """Lay the convolutions channels-last, where the network runs so."""
    import torch

    changed: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with torch.no_grad():
            changed(torch.zeros(2, *input_shape))
    except RuntimeError:
        # A feature map that lies channels-last cannot be flattened by `x.view(len(x), -1)`.
        changed = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return changed


def architecture(spec: ModelSpec, base_dir: Path | None = None) -> ModelSpec:
    """Return an equal spec that names a network or a function and holds absolute paths.

    A saved network ``net.pt`` becomes the spec it was saved with, and ``weights`` its path.

    Raises:
        NetworkError: the file is not there, not readable, or names a user's function: a file must
            not decide what code is run.
    """
    if not spec.is_file:
        if spec.weights is None:
            return spec
        path = _find(spec.weights, base_dir, "model.weights")
        return spec.model_copy(update={"weights": str(path)})
    path = _find(spec.name, base_dir, "model.name")
    saved = _trusted(load_checkpoint(path), path, spec.name)
    return saved.model_copy(update={"weights": str(path)})


def _trusted(saved: Checkpoint, path: Path, name: str) -> ModelSpec:
    """Return what a saved network was built from, if that runs no code that the file chose."""
    if saved.spec.is_file or saved.spec.is_function:
        raise NetworkError(
            f"{path}: was built by '{saved.spec.name}', and a file must not decide what code is "
            f"run. Give model.name: {saved.spec.name} with its args, and model.weights: {name}."
        )
    return saved.spec


def _check_fit(saved: Checkpoint, path: Path, input_shape: tuple[int, ...], n_classes: int) -> None:
    if (saved.input_shape, saved.n_classes) != (input_shape, n_classes):
        raise NetworkError(
            f"{path}: the network takes samples of shape {saved.input_shape} in {saved.n_classes} "
            f"classes, but the data have shape {input_shape} and {n_classes} classes."
        )


def _find(file: str, base_dir: Path | None, key: str) -> Path:
    path = Path(file).expanduser()
    folders = [folder for folder in (base_dir, Path.cwd()) if folder is not None]
    places = [path] if path.is_absolute() else [folder / path for folder in folders]
    for place in places:
        if place.is_file():
            return place.resolve()
    looked = ", ".join(str(place) for place in dict.fromkeys(places))
    raise NetworkError(f"{key}: '{file}' does not exist. Looked for: {looked}.")


def _construct(spec: ModelSpec, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    from torch import nn

    function = _function(spec)
    given = {"input_shape": input_shape, "n_classes": n_classes}
    arguments = _arguments(spec, function, given)
    try:
        model = function(**arguments)
    except RfpruneError:
        raise
    except Exception as error:
        raise NetworkError(
            f"model '{spec.name}' failed: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(model, nn.Module):
        raise NetworkError(
            f"model '{spec.name}' returned a {type(model).__name__}, expected a torch.nn.Module."
        )
    return model


def _function(spec: ModelSpec) -> _Builder:
    if not spec.is_function:
        function = MODELS.load(spec.name)
    else:
        declare_missing_operators()  # the user's module may import torchvision
        function = resolve(spec.name)
    if not callable(function):
        raise NetworkError(f"model '{spec.name}' is a {type(function).__name__}, not a function.")
    return function  # type: ignore[no-any-return]


def _arguments(spec: ModelSpec, function: _Builder, given: dict[str, Any]) -> dict[str, Any]:
    """Return all keyword arguments; those of the spec are checked against the signature."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        return {**spec.args}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        p.name: p
        for p in parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    allowed = [name for name in named if name not in _GIVEN]
    for name in spec.args:
        if name in _GIVEN:
            raise SpecError(f"model.args.{name}: comes from the data; remove it.")
        if name not in allowed and not takes_any:
            raise SpecError(
                f"model.args.{name}: model '{spec.name}' has no such argument."
                f"{nearest(name, allowed)} It takes: {', '.join(allowed) or 'none'}."
            )
    for name in allowed:
        if named[name].default is inspect.Parameter.empty and name not in spec.args:
            raise SpecError(f"model.args: model '{spec.name}' needs the argument '{name}'.")
    values = spec.args if spec.is_function else _typed(spec, function)
    return {**values, **{name: value for name, value in given.items() if name in named}}


def _typed(spec: ModelSpec, function: _Builder) -> dict[str, Any]:
    """Check the arguments of a named network against its annotations."""
    hints = get_type_hints(function, include_extras=True)
    values = {}
    for name, value in spec.args.items():
        try:
            values[name] = TypeAdapter(hints.get(name, Any)).validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(["model", "args", name, *(str(part) for part in first["loc"])])
            raise SpecError(f"{place}: {first['msg']}; got {first['input']!r}.") from error
    return values


def _without_head(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace the last layer's tensors by the network's own."""
    last = [name for name, _ in model.named_parameters()][-1].rpartition(".")[0]
    own = {name: value for name, value in model.state_dict().items() if name.startswith(f"{last}.")}
    return state | own


def _load_weights(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state]
    foreign = [name for name in state if name not in wanted]
    shapes = [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    faults = [f"no {', '.join(missing)}"] if missing else []
    faults += [f"{', '.join(foreign)} unknown to the network"] if foreign else []
    faults += shapes
    if faults:
        raise NetworkError(f"{path}: the weights do not fit the network: {'; '.join(faults)}.")
    model.load_state_dict(state)


def _check_finite(model: nn.Module, source: str) -> None:
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise NetworkError(f"{source}: '{name}' holds values that are not finite numbers.")


def _dry_run(model: nn.Module, name: str, input_shape: tuple[int, ...], n_classes: int) -> None:
    """Run two zero samples through the network and compare the shape of the output."""
    import torch

    expected = (2, n_classes)
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(2, *input_shape))
    except Exception as error:
        raise NetworkError(
            f"model '{name}' does not take samples of shape {input_shape}: {error}"
        ) from error
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if found != expected:
        raise NetworkError(
            f"model '{name}': for two samples of shape {input_shape} the output is {found}, "
            f"expected the logits {expected}, one per class."
        )
