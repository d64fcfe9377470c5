"""The exported network as an ONNX file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

__all__ = ["write_onnx"]


def write_onnx(path: Path, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Write `model` in the operator set that this torch exports by default, and check it.

    Input ``x`` is (batch, *input_shape) and output ``logits`` is (batch, classes), both float32,
    for any batch; the weights are in the file itself.

    Args:
        path: the file.
        model: in eval mode, on the CPU.
        input_shape: of one sample.
    """
    import onnx

    rows = torch.zeros(2, *input_shape)
    with _quiet():
        program = torch.onnx.export(
            model,
            (rows,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["x"],
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None
        program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path), full_check=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter says of its own stages, and of its own deprecations, to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
