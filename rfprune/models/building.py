"""From a `ModelSpec` to a network that fits its data."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rfprune.core.named import InputShape, Outputs, call, plain_shape, zero_rows
from rfprune.core.paths import find_named, places_of
from rfprune.core.registry import a_type, importable, nearest, resolve
from rfprune.errors import NetworkError, RfpruneError, SpecError
from rfprune.models.checkpoint import Checkpoint, load_checkpoint
from rfprune.models.extra_packages import declare_missing_operators
from rfprune.models.named_models import MODELS
from rfprune.models.spec import ModelSpec
from rfprune.models.untrainable import refuse_untrainable
from rfprune.models.weights import fitting, read_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["architecture", "build"]

#: `n_classes` is another name of the same number.
_GIVEN = ("input_shape", "n_outputs", "n_classes")
#: Tensors that a message names.
_NAMED = 6
_Builder = Callable[..., Any]


def build(
    spec: ModelSpec,
    input_shape: InputShape,
    n_outputs: Outputs,
    base_dir: Path | None = None,
) -> nn.Module:
    """Build a network on the CPU, in training mode, with initial or saved weights.

    Weights of 2-D convolutions lie channels-last in memory (their shape is as always), in which
    convolutions and pooling are a fifth to a third faster to train and twice as fast to evaluate.

    The initial weights come from torch's global generator: seed it before. A user's
    ``package.module:function`` is imported with ``base_dir`` and the current folder on the path,
    and gets ``args`` and, where its signature has them, ``input_shape`` and ``n_outputs`` (or
    ``n_classes``, the same number).

    Args:
        spec: which network.
        input_shape: shape of one sample, without the batch axis; of several inputs by the names of
            the arguments of ``forward``.
        n_outputs: how many outputs it needs; the output must have shape (N, n_outputs). Of several
            heads by name: the network puts out a tuple in this order, or a dict.
        base_dir: folder of the file that holds ``spec``, for relative paths and modules.

    Raises:
        SpecError: arguments that the network's function does not take.
        UnknownNameError: no such network, module or function.
        NetworkError: the function failed, the file is not readable or refused, weights are not
            finite, or the network does not fit the data.
    """
    path, state = None, None
    input_shape = plain_shape(input_shape)
    if spec.is_file:
        path = _find(spec.name, base_dir, "model.name")
        # A saved network says itself what it takes; data of another shape are refused before it is
        # built.
        saved = load_checkpoint(path)
        _check_fit(saved, path, input_shape, n_outputs)
        spec, state = _trusted(saved, path, spec.name), saved.state_dict
    elif spec.weights is not None:
        path = _find(spec.weights, base_dir, "model.weights")
        state = read_weights(path)
    # What a network warns of while it is made is shown if it is taken: a refusal is one sentence.
    # For the time of building only: a user's folder must not shadow modules elsewhere.
    with warnings.catch_warnings(record=True) as warned, importable(base_dir):
        model = _construct(spec, input_shape, n_outputs)
    # Of torch.compile, which hides the layers: the network inside.
    model = getattr(model, "_orig_mod", model)
    refuse_untrainable(model, spec.name)
    for each in warned:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if path is not None and state is not None:
        state = fitting(state, model.state_dict(), path)
        _load_weights(model, _without_head(model, state) if spec.new_head else state, path)
    # Before it runs: a NaN would pass through every comparison below.
    _check_finite(model, spec.name if path is None else str(path))
    _dry_run(model, spec.name, input_shape, n_outputs)
    return _channels_last(model, input_shape).train()


def _channels_last(model: nn.Module, input_shape: InputShape) -> nn.Module:
    """Lay the convolutions channels-last, if the network runs that way."""
    import torch

    # Convolutions on processors are up to three times faster so.
    changed: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with torch.no_grad():
            call(changed, zero_rows(2, input_shape))
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


def _check_fit(saved: Checkpoint, path: Path, input_shape: InputShape, n_outputs: Outputs) -> None:
    if (saved.input_shape, saved.n_outputs) != (input_shape, n_outputs):
        raise NetworkError(
            f"{path}: the network takes samples of shape {saved.input_shape} and has "
            f"{saved.n_outputs} outputs, but the data have shape {input_shape} and need "
            f"{n_outputs}."
        )


def _find(file: str, base_dir: Path | None, key: str) -> Path:
    found = find_named(file, base_dir)
    if found is not None and found.is_file():
        return found.resolve()
    looked = ", ".join(map(str, places_of(file, base_dir)))
    raise NetworkError(f"{key}: '{file}' does not exist. Looked for: {looked}.")


def _construct(spec: ModelSpec, input_shape: InputShape, n_outputs: Outputs) -> nn.Module:
    from torch import nn

    if spec.is_function:
        declare_missing_operators()  # the user's module may import torchvision
        function = resolve(spec.name)
    else:
        function = MODELS.load(spec.name)
    if not callable(function):
        raise NetworkError(f"model '{spec.name}' is {a_type(function)}, not a function.")
    given = {"input_shape": input_shape, "n_outputs": n_outputs, "n_classes": n_outputs}
    arguments = _arguments(spec, function, given)
    try:
        model = function(**arguments)
    except RfpruneError:
        raise  # a named network says itself what is wrong with its input
    except Exception as error:
        raise NetworkError(
            f"model '{spec.name}' failed: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(model, nn.Module):
        raise NetworkError(
            f"model '{spec.name}' returned {a_type(model)}, expected a torch.nn.Module."
        )
    return model


def _arguments(spec: ModelSpec, function: _Builder, given: dict[str, Any]) -> dict[str, Any]:
    """Return all keyword arguments; those of the spec are checked against the signature."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        # A function that is written in C may have none; it gets what the file says.
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
    # A user's annotations may mean anything; those of named networks are written to be checked.
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
    # Found by its place, as the saved layer may have another shape or even another name.
    return state | own


def _load_weights(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    # `load_state_dict` finds the same faults, but reports them in a line per tensor.
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state]
    foreign = [name for name in state if name not in wanted]
    shapes = [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    faults = [f"missing are {_few(missing)}"] if missing else []
    faults += [f"the network does not have {_few(foreign)}"] if foreign else []
    faults += shapes
    if faults:
        raise NetworkError(f"{path}: the weights do not fit the network: {'; '.join(faults)}.")
    model.load_state_dict(state)


def _few(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _check_finite(model: nn.Module, source: str) -> None:
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise NetworkError(f"{source}: '{name}' holds values that are not finite numbers.")


def _dry_run(model: nn.Module, name: str, input_shape: InputShape, n_outputs: Outputs) -> None:
    """Run two zero samples through the network and compare the shapes of its outputs."""
    import torch

    if isinstance(input_shape, dict):
        _check_inputs(model, name, input_shape)
    # Two, so that a network without a batch axis is found; in evaluation, where batch norms do not
    # learn from the zeros.
    model.eval()
    try:
        with torch.no_grad():
            output = call(model, zero_rows(2, input_shape))
    except Exception as error:
        raise NetworkError(
            f"model '{name}' does not take samples of shape {_words(input_shape)}: "
            f"{str(error).rstrip('.')}."
        ) from error
    what = f"model '{name}': for two samples of shape {_words(input_shape)}"
    if not isinstance(n_outputs, dict):
        _check_output(what, "the output", output, input_shape, n_outputs)
        return
    heads = list(n_outputs)
    # One head may come without its tuple.
    if isinstance(output, torch.Tensor) and len(heads) == 1:
        output = (output,)
    if isinstance(output, tuple | list) and len(output) == len(heads):
        output = dict(zip(heads, output, strict=True))
    if not isinstance(output, dict) or set(output) != set(heads):
        found = _shapes(output)
        raise NetworkError(
            f"{what} the output is {found}, expected one tensor for each head of the task "
            f"({', '.join(heads)}): a tuple in this order, or a dict with these names."
        )
    for head in heads:
        _check_output(what, f"the output '{head}'", output[head], input_shape, n_outputs[head])


def _check_output(
    what: str, which: str, output: object, input_shape: InputShape, n_outputs: int
) -> None:
    import torch

    expected = (2, n_outputs)
    found = _shapes(output)
    # One number per row may lack its axis, and what is put out again may have that of the input.
    same = not isinstance(input_shape, dict) and math.prod(input_shape) == n_outputs
    allowed = [
        expected,
        *([(2,)] if n_outputs == 1 else []),
        *([(2, *input_shape)] if same else []),
    ]
    if found not in allowed:
        hint = (
            "one output per class, or per number of a row"
            if isinstance(output, torch.Tensor)
            else "for several outputs give the task heads"
        )
        if n_outputs == 2 and found == (2, 1):
            hint = f"{hint} (for one logit, yes or no, use task: binary)"
        if n_outputs == 1 and not isinstance(input_shape, dict) and found == (2, *input_shape):
            hint = f"{hint} (to give the input again, an anomaly task has loss: reconstruction)"
        raise NetworkError(f"{what} {which} is {found}, expected {expected}: {hint}.")


def _check_inputs(model: nn.Module, name: str, input_shape: dict[str, tuple[int, ...]]) -> None:
    """Check that the inputs of the data are arguments of ``forward``, and all that it needs."""
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    taken = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p.name for p in parameters if p.name in taken and p.default is p.empty]
    for own in input_shape:
        if own not in taken:
            raise NetworkError(
                f"model '{name}': its forward has no argument '{own}', which the data call "
                f"x_train_{own}.{nearest(own, taken)} It takes: {', '.join(taken) or 'none'}."
            )
    for own in needed:
        if own not in input_shape:
            raise NetworkError(
                f"model '{name}': its forward needs '{own}', and the data have no x_train_{own}. "
                f"They have: {', '.join(f'x_train_{other}' for other in input_shape)}."
            )


def _shapes(output: Any) -> Any:
    """Return the shape of an output, or the shapes of several."""
    import torch

    if isinstance(output, torch.Tensor):
        return tuple(output.shape)
    if isinstance(output, dict):
        return {key: _shapes(part) for key, part in output.items()}
    if isinstance(output, tuple | list):
        return tuple(_shapes(part) for part in output)
    return type(output).__name__


def _words(shape: InputShape) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name} {part}" for name, part in shape.items())
    return str(shape)
