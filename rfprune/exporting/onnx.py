"""The exported network as an ONNX file."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from rfprune.core.named import InputShape, Named, call, zero_rows

__all__ = ["drop_shapes_of_weights", "write_onnx", "write_onnx_of_heads"]


def write_onnx(
    path: Path, model: nn.Module, input_shape: InputShape, output_name: str = "logits"
) -> None:
    """Write `model` in the operator set that this torch exports by default, and check it.

    Input ``x`` is (batch, *input_shape) and the output (batch, outputs), both float32, for any
    batch; the weights are in the file itself. Several inputs are called as the arguments of the
    network's ``forward``, several outputs as the keys of its dict.

    Args:
        path: the file.
        model: in eval mode, on the CPU.
        input_shape: of one sample; by input if there are several.
        output_name: what the only output is called.
    """
    _write(path, model, input_shape, [output_name])


def write_onnx_of_heads(
    path: Path, model: nn.Module, input_shape: InputShape, heads: Sequence[str]
) -> None:
    """Write a network of several outputs; see `write_onnx`.

    Args:
        path: the file.
        model: in eval mode, on the CPU.
        input_shape: of one sample; by input if there are several.
        heads: names of the outputs, in the order of the network's tuple.
    """
    with torch.no_grad():
        output = call(model, zero_rows(2, input_shape))
    # The file has the outputs in the order in which a dict puts them out.
    _write(path, model, input_shape, list(output) if isinstance(output, Mapping) else list(heads))


def _write(
    path: Path, model: nn.Module, input_shape: InputShape, output_names: Sequence[str]
) -> None:
    import onnx

    # Two rows: with one, the exporter would fix the size of the batch.
    rows, batch = zero_rows(2, input_shape), {0: torch.export.Dim("batch")}
    several = isinstance(rows, Named)
    with _quiet(), _AttentionOfHeads(), _any_length():
        program = torch.onnx.export(
            model,
            () if several else (rows,),
            kwargs=rows.parts if several else None,
            dynamo=True,
            dynamic_shapes=dict.fromkeys(rows.parts, batch) if several else (batch,),
            input_names=list(rows.parts) if several else ["x"],
            output_names=output_names,
            verbose=False,
        )
        assert program is not None
        # Where each operation was called from: paths of this machine, in a file for others.
        for node in program.model.graph:
            node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
        program.save(str(path), external_data=False)
    drop_shapes_of_weights(path)
    onnx.checker.check_model(str(path), full_check=True)


def drop_shapes_of_weights(path: Path) -> None:
    """Leave shapes of weights to the weights: tools that transpose one would contradict the rest.

    Args:
        path: an ONNX file, which is replaced.
    """
    import onnx

    model = onnx.load(str(path))
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    onnx.save(model, str(path))


class _AttentionOfHeads(TorchFunctionMode):
    """While open, attention without an axis of heads has one of length 1: torch's exporter asks it.

    ``aten_scaled_dot_product_attention`` of torch 2.13 takes tensors of four axes alone.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch."""
        named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        if func is not nn.functional.scaled_dot_product_attention or named["query"].dim() != 3:
            return func(*args, **(kwargs or {}))
        four = {name: named.pop(name).unsqueeze(1) for name in ("query", "key", "value")}
        return func(**four, **named).squeeze(1)


@contextlib.contextmanager
def _any_length() -> Iterator[None]:
    """While open, ``len`` of a tensor may be a symbol: as a number it would fix the batch.

    Python turns what ``Tensor.__len__`` returns into a number, and the exporter says nothing.
    """
    count = builtins.len

    def length(x: Any, /) -> Any:
        return x.shape[0] if isinstance(x, torch.Tensor) and x.dim() else count(x)

    builtins.len = length
    try:
        yield
    finally:
        builtins.len = count


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress messages and its own deprecation warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
