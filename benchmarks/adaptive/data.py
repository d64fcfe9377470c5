"""Images for `benchmarks.adaptive`: real ones, their noisy and dark versions, a stream of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.report import read_cases
from rfprune.data import load
from rfprune.data.spec import DataSpec

CASES = read_cases("adaptive")
#: Batches over which a condition comes up.
RAMP = 10


class Images(NamedTuple):
    """Rows (N, C, H, W), pixels from 0 to 1, and classes (N,) of three disjoint sets."""

    source: str
    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    n_classes: int


def images(n_classes: int, image_size: int) -> Images:
    """Return the first classes of Tiny-ImageNet."""
    spec = DataSpec(name="tiny_imagenet", classes=n_classes, image_size=image_size)
    data = load(spec, Path.cwd())
    parts = [(data.x_train, data.y_train), (data.x_val, data.y_val), (data.x_test, data.y_test)]
    source = f"the first {n_classes} classes of Tiny-ImageNet at {image_size} pixels"
    return Images(source, *((x[:], y) for x, y in parts), n_classes)


def disturbed(x: Tensor, noise: float, brightness: float, generator: torch.Generator) -> Tensor:
    """Return images as a camera sees them: darker, and with the noise of its sensor."""
    added = noise * torch.randn(x.shape, generator=generator)
    return (brightness * x + added).clamp(0, 1)


def conditioned(x: Tensor, seed: int) -> dict[str, Tensor]:
    """Return rows as they look under each condition."""
    generator = torch.Generator().manual_seed(seed)
    return {name: disturbed(x, *change, generator) for name, change in CASES["conditions"].items()}


def mixed(x: Tensor, seed: int) -> Tensor:
    """Return training rows of which half are clean and the others in some other condition."""
    generator = torch.Generator().manual_seed(seed)
    others = [change for name, change in CASES["conditions"].items() if name != "clean"]
    drawn = torch.randint(2 * len(others), (len(x),), generator=generator)
    result = x.clone()
    for number, (noise, brightness) in enumerate(others):
        chosen = drawn == number
        result[chosen] = disturbed(x[chosen], noise, brightness, generator)
    return result


class Batch(NamedTuple):
    """Rows and classes of one batch, what it drifts toward, and its share of the dense power."""

    condition: str
    budget: float
    x: Tensor
    y: Tensor


def stream(x: Tensor, y: Tensor, batch_size: int, seed: int) -> Iterator[Batch]:
    """Yield batches whose condition drifts and whose budget falls and rises, phase by phase."""
    generator = torch.Generator().manual_seed(seed)
    before, budget_before = "clean", 1.0
    for n_batches, condition, budget in CASES["phases"]:
        for number in range(1, n_batches + 1):
            share = min(1.0, number / RAMP)
            ends = zip(CASES["conditions"][before], CASES["conditions"][condition], strict=True)
            noise, brightness = ((1 - share) * old + share * new for old, new in ends)
            rows = torch.randint(len(x), (batch_size,), generator=generator)
            now = budget_before + (budget - budget_before) * number / n_batches
            yield Batch(condition, now, disturbed(x[rows], noise, brightness, generator), y[rows])
        before, budget_before = condition, budget
