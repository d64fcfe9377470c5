"""The benchmark: what its stream shows, and that all of it runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.adaptive.data import CONDITIONS, PHASES, disturbed, images, mixed, stream
from benchmarks.adaptive.measure import PACKAGES, Setting, conditioned, drift, measure, with_levels
from benchmarks.adaptive.page import page, plot
from benchmarks.report import facts
from rfprune.adaptive import AdaptiveModel, LevelPolicy, TableRule, level_power, measure_levels
from rfprune.models import ModelSpec, build
from rfprune.monitor import DEVICES, input_statistics

MADE = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 4


def test_the_stream_drifts_and_its_budget_falls_and_rises():
    batches = list(stream(MADE, LABELS, 8, seed=0))
    assert len(batches) == sum(n for n, _, _ in PHASES)
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
    dark = disturbed(MADE, *CONDITIONS["dark"], torch.Generator().manual_seed(0))
    assert dark.mean() < 0.3 * MADE.mean() + 0.01


@pytest.mark.parametrize("hold", [1, 3])
def test_a_sample_of_the_images_decides_as_all_of_them(tmp_path, monkeypatch, hold):
    monkeypatch.setenv("RFPRUNE_DATA", str(tmp_path))
    data = images(3, 32)
    whole = build(ModelSpec(name="edge_cnn", args={"channels": [8, 8]}), (3, 32, 32), 3).eval()
    network = with_levels(whole, data.train[0][:64])
    power = level_power(network.levels, DEVICES["raspberry_pi_4"], 1e-3)
    table = measure_levels(network, conditioned(data.val[0], 1), data.val[1], power)
    # Made accuracies, so that each condition has a level of its own.
    table = replace(table, accuracy=np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]))
    model = AdaptiveModel(network, LevelPolicy(TableRule(table, 0.9), hold))
    rows = drift(model, data, Setting(), seed=0)
    assert {row["level_by_all_images"] for row in rows} == {0, 1, 2, 3}
    same = sum(row["level"] == row["level_by_all_images"] for row in rows)
    assert same >= 0.95 * len(rows)


@pytest.mark.slow
def test_all_of_it_runs_on_made_images_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("RFPRUNE_DATA", str(tmp_path))
    assert images(3, 16).source.startswith("made images, not photos (data set 'tiny_imagenet'")
    tiny = Setting(3, 16, (8, 8), dense_epochs=1, epochs=1, batch_size=8, repeats=2)
    result = {"command": "test", "facts": facts(PACKAGES, seed=0), **measure(tiny, seed=0)}
    text = page(result, "About.")
    plot(result, tmp_path / "stream.png")
    assert (tmp_path / "stream.png").stat().st_size > 10_000
    assert len(result["accuracies"]) == 12
    assert all(0 <= row["accuracy"] <= 1 for row in result["stream"])
    assert all(row["level"] in range(4) for row in result["stream"])
    for heading in ("## Time", "## Accuracy", "## A drifting stream"):
        assert heading in text
