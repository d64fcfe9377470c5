"""Images for `benchmarks.adaptive`: real ones, their noisy and dark versions, a stream of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rfprune.data import DataSpec, load
from rfprune.errors import DataError

__all__ = ["CONDITIONS", "Batch", "Images", "disturbed", "images", "mixed", "stream"]

#: Standard deviation of the noise and factor of brightness, for pixels from 0 to 1.
CONDITIONS: dict[str, tuple[float, float]] = {
    "clean": (0.0, 1.0),
    "noisy": (0.15, 1.0),
    "dark": (0.02, 0.25),
}
#: (batches, condition, budget at the end as a share of the unpruned network's power)
PHASES = (
    (30, "clean", 1.0),
    (35, "noisy", 1.0),
    (35, "dark", 1.0),
    (30, "clean", 1.0),
    (25, "dark", 1.0),
    (40, "dark", 0.5),
    (40, "dark", 1.0),
    (20, "dark", 1.0),
)
#: Batches over which a condition comes up.
RAMP = 10


@dataclass(frozen=True)
class Images:
    """Rows of three disjoint sets, pixels from 0 to 1.

    Attributes:
        source: what they are, for the page.
        train, val, test: (N, C, H, W) and (N,).
        n_classes: number of classes.
    """

    source: str
    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    n_classes: int


def images(n_classes: int, image_size: int) -> Images:
    """Return classes of Tiny-ImageNet, or made images where it is absent."""
    spec = DataSpec(name="tiny_imagenet", classes=n_classes, image_size=image_size)
    try:
        data = load(spec, Path.cwd())
    except DataError as error:
        return _made(n_classes, image_size, str(error).split(".")[0])
    parts = [(data.x_train, data.y_train), (data.x_val, data.y_val), (data.x_test, data.y_test)]
    train, val, test = ((x[:], y) for x, y in parts)
    source = f"the first {n_classes} classes of Tiny-ImageNet at {image_size} pixels"
    return Images(source, train, val, test, n_classes)


def _made(n_classes: int, size: int, reason: str) -> Images:
    """Return coloured stripes, whose direction is their class."""

    def rows(n: int, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(n) % n_classes
        angle = (y * math.pi / n_classes)[:, None, None]
        down, across = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        shift = 2 * math.pi * torch.rand(n, 1, 1, generator=generator)
        wave = (1.2 * (across * angle.cos() + down * angle.sin()) + shift).sin()
        color = torch.rand(n, 3, 1, 1, generator=generator)
        noise = 0.1 * torch.randn(n, 3, size, size, generator=generator)
        return (0.5 + 0.4 * color * wave[:, None] + noise).clamp(0, 1), y

    sets = (rows(250 * n_classes, 0), rows(40 * n_classes, 1), rows(50 * n_classes, 2))
    return Images(f"made images, not photos ({reason})", *sets, n_classes)


def disturbed(x: Tensor, noise: float, brightness: float, generator: torch.Generator) -> Tensor:
    """Return images as a camera sees them: darker, and with the noise of its sensor."""
    added = noise * torch.randn(x.shape, generator=generator)
    return (brightness * x + added).clamp(0, 1)


def mixed(x: Tensor, seed: int) -> Tensor:
    """Return training rows of which half are clean and the others in some other condition."""
    generator = torch.Generator().manual_seed(seed)
    others = [condition for name, condition in CONDITIONS.items() if name != "clean"]
    drawn = torch.randint(2 * len(others), (len(x),), generator=generator)
    result = x.clone()
    for number, (noise, brightness) in enumerate(others):
        chosen = drawn == number
        result[chosen] = disturbed(x[chosen], noise, brightness, generator)
    return result


@dataclass(frozen=True)
class Batch:
    """One batch of the stream.

    Attributes:
        condition: what it drifts toward.
        budget: power budget as a share of the unpruned network's power.
        x, y: rows and classes.
    """

    condition: str
    budget: float
    x: Tensor
    y: Tensor


def stream(x: Tensor, y: Tensor, batch_size: int, seed: int) -> Iterator[Batch]:
    """Yield batches whose condition drifts and whose budget falls and rises, see `PHASES`."""
    generator = torch.Generator().manual_seed(seed)
    before, budget_before = "clean", 1.0
    for n_batches, condition, budget in PHASES:
        for number in range(1, n_batches + 1):
            share = min(1.0, number / RAMP)
            ends = zip(CONDITIONS[before], CONDITIONS[condition], strict=True)
            noise, brightness = ((1 - share) * old + share * new for old, new in ends)
            rows = torch.randint(len(x), (batch_size,), generator=generator)
            now = budget_before + (budget - budget_before) * number / n_batches
            shown = disturbed(x[rows], noise, brightness, generator)
            yield Batch(condition, now, shown, y[rows])
        before, budget_before = condition, budget
