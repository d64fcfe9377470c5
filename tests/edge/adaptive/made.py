"""Made images and small networks: three classes of stripes, clean, noisy and dark."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.edge.adaptive import Levels, LevelTable, SlimmableNetwork, make_levels
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.kernels import trace_kernels
from rfprune.edge.monitor import DEVICES, Reading
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.spec import EdgeSpec
from rfprune.spec.training import TrainSpec
from rfprune.training import Fit

SHAPE = (1, 16, 16)
N_CLASSES = 3
FRACTIONS = (0.0, 0.25, 0.5, 0.75)
SPEC = ModelSpec(name="edge_cnn", args={"channels": [16, 16]})


def images(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return (N, 1, 16, 16) stripes of three directions at random places, and their direction."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % N_CLASSES
    angle = y * math.pi / N_CLASSES
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    shift = 2 * math.pi * torch.rand(n, generator=generator)
    across = columns * angle.cos()[:, None, None] + rows * angle.sin()[:, None, None]
    stripes = 0.5 + 0.4 * (1.2 * across + shift[:, None, None]).sin()
    return (stripes[:, None] + 0.1 * torch.randn(n, *SHAPE, generator=generator)), y


def noisy(x: Tensor) -> Tensor:
    return x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(9))


def dark(x: Tensor) -> Tensor:
    return 0.2 * x


def built(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Build the same network as `SPEC`, as a user's function would."""
    return build(SPEC, input_shape, n_classes)


def network() -> tuple[nn.Module, Levels]:
    """Return a network in evaluation mode whose norms shift and scale, and its levels."""
    torch.manual_seed(1)
    model = build(SPEC, SHAPE, N_CLASSES)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight, mean=1, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
    model.eval()
    return model, make_levels(model, trace_kernels(model, SHAPE), FRACTIONS)


def slimmable() -> SlimmableNetwork:
    return SlimmableNetwork(*network())


def level_power(levels: Levels) -> list[Reading]:
    """Return (A,) what each level draws at a thousand images per second."""
    device, spec = DEVICES["raspberry_pi_4"], EdgeSpec(images_per_second=1000)
    costs = EdgeCosts(levels.kernels, device, spec)
    return [costs.readings(masks.kept).power for masks in levels.masks]


def fit_for(epochs: int, seed: int = 0) -> Fit:
    train = TrainSpec(batch_size=32, device="cpu", learning_rate_schedule="cosine")
    return Fit(epochs=epochs, learning_rate=3e-3, train=train, seed=seed)


def table() -> LevelTable:
    """Return a table in which a harder condition needs less pruning."""
    return LevelTable(
        conditions=("clean", "noisy", "dark"),
        statistics=("mean", "noise"),
        mean=np.array([[0.5, 0.0], [0.5, 1.0], [0.1, 0.0]]),
        scale=np.array([0.1, 0.1]),
        accuracy=np.array([[0.95, 0.94, 0.9, 0.7], [0.85, 0.8, 0.6, 0.4], [0.92, 0.9, 0.7, 0.5]]),
        power_mw=np.array([1000.0, 800.0, 600.0, 400.0]),
        power_source="estimated: made up",
    )
