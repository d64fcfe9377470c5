"""The benchmark: what its stream shows, and that all of it runs."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.adaptive.__main__ import page, plot
from benchmarks.adaptive.data import CASES, Images, conditioned, disturbed, mixed, stream
from benchmarks.adaptive.measure import drift, measure, with_levels
from benchmarks.report import facts
from rfprune.edge.adaptive import (
    AdaptiveModel,
    LevelPolicy,
    TableRule,
    measure_levels,
)
from rfprune.edge.monitor import input_statistics
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from tests.edge.adaptive.made import level_power

MADE = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 4


def stripes(n_classes: int, size: int) -> Images:
    """Return coloured stripes, whose direction is their class."""

    def rows(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
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
    return Images("made images, not photos", *sets, n_classes)


def test_the_stream_drifts_and_its_budget_falls_and_rises():
    batches = list(stream(MADE, LABELS, 8, seed=0))
    assert len(batches) == sum(n for n, _, _ in CASES["phases"])
    ends = {batch.condition: input_statistics(batch.x).mean for batch in batches}
    assert ends["dark"][0] < 0.5 * ends["clean"][0]
    budgets = [batch.budget for batch in batches]
    assert (budgets[0], min(budgets), budgets[-1]) == (1.0, 0.5, 1.0)
    again = list(stream(MADE, LABELS, 8, seed=0))
    assert all(torch.equal(a.x, b.x) for a, b in zip(batches, again, strict=True))


def test_half_of_the_training_rows_stay_clean():
    rows = mixed(MADE, seed=0)
    changed = (rows != MADE).flatten(1).any(dim=1)
    assert 10 <= changed.sum() <= 30
    dark = disturbed(MADE, *CASES["conditions"]["dark"], torch.Generator().manual_seed(0))
    assert dark.mean() < 0.3 * MADE.mean() + 0.01


@pytest.mark.parametrize("hold", [1, 3])
def test_a_sample_of_the_images_decides_as_all_of_them(hold):
    data = stripes(3, 32)
    whole = build(ModelSpec(name="edge_cnn", args={"channels": [8, 8]}), (3, 32, 32), 3).eval()
    network = with_levels(whole, data.train[0][:64])
    power = level_power(network.levels)
    table = measure_levels(network, conditioned(data.val[0], 1), data.val[1], power)
    # Made accuracies, so that each condition has a level of its own.
    table = replace(table, accuracy=np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]))
    model = AdaptiveModel(network, LevelPolicy(TableRule(table, 0.9), hold))
    rows = drift(model, data, 64, seed=0)
    assert {row["level_by_all_images"] for row in rows} == {0, 1, 2, 3}
    same = sum(row["level"] == row["level_by_all_images"] for row in rows)
    assert same >= 0.95 * len(rows)


@pytest.mark.slow
def test_all_of_it_runs_and_the_page_says_so(tmp_path):
    sizes = {"n_classes": 3, "image_size": 16, "channels": (8, 8), "batch_size": 8, "repeats": 2}
    tiny = SimpleNamespace(**sizes, dense_epochs=1, epochs=1)
    result = measure(stripes(3, 16), tiny, seed=0)
    text = page({"command": "test", "facts": facts(["torch"], seed=0), **result})
    plot(result, tmp_path)
    assert (tmp_path / "stream.png").stat().st_size > 10_000
    assert len(result["accuracies"]) == 12
    assert all(0 <= row["accuracy"] <= 1 for row in result["stream"])
    assert all(row["level"] in range(4) for row in result["stream"])
    assert "Images: made images, not photos; 750 training" in text
