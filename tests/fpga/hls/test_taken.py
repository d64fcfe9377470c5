"""What a network may consist of: converted, compiled, and bit for bit what torch computes.

Compiling takes seconds, so each network holds many operations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfprune.core.named import Named
from rfprune.fpga.hls import compare, convert
from rfprune.fpga.layers import plan, trace
from rfprune.spec import HardwareSpec
from rfprune.tasks import make_task
from rfprune.tasks.spec import TaskSpec

pytestmark = pytest.mark.slow


class Vectors(nn.Module):
    """Arithmetic, slices and activations on vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 8), nn.Linear(6, 8), nn.Linear(34, 6)
        self.offset = nn.Parameter(torch.linspace(-1, 1, 8))
        self.register_buffer("scale", torch.linspace(0.5, 2, 12))
        self.leaky, self.threshold = nn.LeakyReLU(0.2), nn.Threshold(0.3, 0.0)
        self.z = nn.Linear(6, 6)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        assert x.shape[1] == 12
        x = 1.5 - x * self.scale
        a = self.offset + self.a(x)  # folded
        b = F.relu6(self.b(x[:, 2:8]) * 4)
        left, right = x.chunk(2, dim=1)
        even, last = x[:, ::2], x[..., -1].unsqueeze(1)
        c = torch.cat(
            [F.relu(a), b, left - right, self.leaky(even), last, last * 2, even.flip(1)], 1
        )
        c = self.c(F.dropout(c.view(len(c), -1), training=self.training)[:, :34])
        d = self.z(torch.clamp(c, min=0)) / 2 - self.threshold(c)
        highest = torch.maximum(d, -d)
        return torch.cat([(d * d).sum(1, keepdim=True), highest, torch.square(c)], dim=-1)


class Images(nn.Module):
    """Convolutions of every kind, and what only moves features about."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((1, 0, 2, 1))
        self.same = nn.Conv2d(2, 4, (3, 3), padding="same")
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4, padding=1)
        self.norm, self.point = nn.BatchNorm2d(4), nn.Conv2d(6, 3, 1)
        self.halves, self.twice = nn.AdaptiveMaxPool2d((3, 3)), nn.Upsample(scale_factor=2)
        self.one, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.rows, self.out = nn.Linear(6, 5), nn.Linear(3 + 4 + 2 * 9 + 3 * 5 + 3 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.same(x)))
        y = torch.relu(self.depthwise(y) - 0.5)
        z = self.point(torch.cat([self.twice(self.halves(y)), x], dim=1))  # (3, 6, 6)
        rows = self.rows(z.mean(dim=2))  # (3, 5)
        parts = [self.flat(self.one(z)), y.mean((2, 3)), self.flat(self.pad(x)[:, :, 3:6, 1:4])]
        columns = z.permute(0, 2, 3, 1)[:, 1:3, 4:, :].reshape(-1, 12)
        return self.out(torch.cat([*parts, rows.flatten(1), columns], 1))


class Particles(nn.Module):
    """Embeddings, several inputs and outputs, sums over particles, features last and first."""

    def __init__(self) -> None:
        super().__init__()
        self.kind, self.charge = nn.Embedding(5, 3), nn.Embedding(3, 2)
        self.phi, self.rho = nn.Conv1d(8, 6, 1), nn.Linear(6, 4)
        self.rho2, self.out, self.other = nn.Linear(3, 3), nn.Linear(4, 2), nn.Linear(4, 1)

    def forward(self, track: Tensor, kind: Tensor, charge: Tensor) -> dict[str, Tensor]:
        x = torch.cat([track, self.kind(kind.long()), self.charge(charge.long())], dim=2)
        h = torch.relu(self.phi(x.transpose(1, 2)))
        weighted = (h * track[:, :, 0].unsqueeze(1)).sum(2)
        pooled = torch.relu(self.rho(h.mean(-1)))
        inner = torch.relu(self.rho2(track)).sum(dim=1)
        return {
            "label": self.out(pooled),
            "pt": self.other(pooled),
            "weighted": weighted,
            "inner": inner,
        }


class ImageStreams(nn.Module):
    """What io_stream takes of images: two branches joined, enlarged, and convolved by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 2, 3, padding=1)
        self.depthwise = nn.Conv2d(5, 5, 3, groups=5, padding=1)
        self.twice, self.out = nn.Upsample(scale_factor=2), nn.Conv2d(5, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], 1)
        return self.out(self.twice(torch.relu(self.depthwise(y)))).flatten(1)


class SequenceStreams(nn.Module):
    """The same of sequences, joined along both of their axes, and of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 3, 1), nn.Conv1d(2, 3, 1)
        self.depthwise = nn.Conv1d(3, 3, 3, groups=3, padding=1)
        self.twice, self.wide = nn.Upsample(scale_factor=2), nn.Conv1d(6, 2, 3)
        self.c, self.d, self.out = nn.Linear(36, 4), nn.Linear(36, 3), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        longer = torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], 2)
        y = self.twice(torch.cat([longer, torch.relu(self.depthwise(longer))], 1))
        y = torch.relu(self.wide(y)).flatten(1)
        return self.out(torch.cat([torch.relu(self.c(y)), self.d(y)], 1))


class InPlace(nn.Module):
    """What is changed in place, stacked and padded, as image networks are written."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 3, 3), nn.Conv1d(2, 3, 3)
        self.relu, self.out = nn.ReLU(inplace=True), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1))
        y = self.relu(self.a(x))
        y += F.relu(self.b(x), inplace=True)
        y.mul_(0.5).sub_(0.25)
        return self.out(torch.stack([y, torch.relu_(y - 1)], 2).flatten(1))


def rows_of(shape: Any) -> Any:
    if isinstance(shape, dict):
        parts = {name: torch.randn(40, *part) for name, part in shape.items()}
        for name, rows in (("kind", 5), ("charge", 3)):
            parts[name] = torch.randint(0, rows, parts[name].shape).float()
        return Named(parts)
    return torch.randn(40, *shape)


PARTICLES = {"track": (7, 3), "kind": (7,), "charge": (7,)}
CASES: list[tuple[type[nn.Module], Any, dict[str, Any]]] = [
    (Vectors, (12,), {"io_type": "io_parallel", "layers": {"a": {"reuse_factor": 4}}}),
    (Images, (2, 6, 6), {"io_type": "io_parallel"}),
    (Particles, PARTICLES, {"io_type": "io_parallel", "precision": "fixed<18,8>"}),
    (InPlace, (2, 6), {"io_type": "io_parallel"}),
    (ImageStreams, (2, 5, 5), {"io_type": "io_stream"}),
    (SequenceStreams, (2, 5), {"io_type": "io_stream"}),
]


@pytest.mark.parametrize(("make", "shape", "hardware"), CASES)
def test_bit_exact(
    make: type[nn.Module], shape: Any, hardware: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = make()
    x = rows_of(shape)
    call = (lambda rows: model(**rows.parts)) if isinstance(x, Named) else model
    call(x)
    model.eval()
    planned = plan(trace(model, shape), HardwareSpec.model_validate(hardware))
    conversion = convert(model, planned, tmp_path)
    conversion.write()
    with torch.no_grad():
        ours = call(x)
    if isinstance(ours, dict):
        heads = {key: {"name": "regression"} for key in ours}
        task = make_task(TaskSpec.model_validate({"heads": heads, "score": "label.rmse"}))
        targets: Any = Named({key: torch.zeros_like(part) for key, part in ours.items()})
    else:
        task, targets = make_task(TaskSpec(name="regression")), torch.zeros_like(ours)
        ours = {"": ours}
    parity, compared = compare(conversion, x, targets, task)
    assert [layer for layer in parity.layers if layer.largest_error] == []
    assert parity.largest_error == 0.0
    for name, wanted in ours.items():
        # A threshold can jump where the types round.
        assert abs(compared.cpp[name] - wanted.numpy()).mean() < 0.1
