"""ONNX files of networks that torch's exporter takes only with help."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfprune.exporting.onnx import write_onnx


class Steps(nn.Module):
    """A Linear on what is made of 4 steps of 4 numbers."""

    def __init__(self, way: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.way = nn.Linear(4, 3), way

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.way(x)).sum(1)


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "attention of three axes": lambda x: F.scaled_dot_product_attention(
        *[x.unflatten(1, (4, 4))] * 3, scale=0.7
    ),
    "attention of heads": lambda x: F.scaled_dot_product_attention(
        *[x.view(-1, 1, 4, 4)] * 3
    ).squeeze(1),
    "attention by names": lambda x: F.scaled_dot_product_attention(
        query=(y := x.unflatten(1, (4, 4))), key=y, value=y
    ),
    "its length": lambda x: x.view(len(x), 4, 4) * len(x.shape),
}


@pytest.mark.parametrize("way", WAYS)
def test_any_batch(way: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, file, count = Steps(WAYS[way]).eval(), tmp_path / "network.onnx", builtins.len
    write_onnx(file, model, (16,))
    assert builtins.len is count
    session = onnxruntime.InferenceSession(str(file))
    for rows in (1, 2, 7):
        x = torch.randn(rows, 16)
        (found,) = session.run(None, {"x": x.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, model(x), atol=1e-5)
