"""Levels of one network: how fast and accurate they are, what a change costs, and a stream.

What is trained and measured on which rows: ``pages/adaptive.md``.
"""

import copy
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.adaptive.data import CASES, Images, conditioned, mixed, stream
from rfprune.edge import adaptive
from rfprune.edge.kernels import shrink, trace_kernels
from rfprune.edge.monitor import (
    DEVICES,
    Reading,
    Workload,
    input_statistics,
    measure_time,
    power,
)
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.spec.training import TrainSpec
from rfprune.training import Fit, evaluate, fit, seed_everything

Row = dict[str, Any]
FRACTIONS = (0.0, 0.25, 0.5, 0.75)
DEVICE = DEVICES["raspberry_pi_4"]
#: What the policy may lose under the best condition, to save power.
TOLERANCE = 0.08


#: Sizes of a run by name; ``cases.yml`` explains them.
SETTINGS = {name: SimpleNamespace(**sizes) for name, sizes in CASES["settings"].items()}


def how(epochs: int, seed: int, learning_rate: float = 3e-3) -> Fit:
    """Return how every network here is trained."""
    return Fit(epochs, learning_rate, TrainSpec(**CASES["train"]), seed)


def dense_network(data: Images, setting: SimpleNamespace, seed: int) -> tuple[nn.Module, ModelSpec]:
    """Return the trained network without levels, and what it was built from."""
    seed_everything(seed)
    spec = ModelSpec(name="edge_cnn", args={"channels": list(setting.channels)})
    network = build(spec, tuple(data.train[0].shape[1:]), data.n_classes)
    fit(network, mixed(data.train[0], seed), data.train[1], how(setting.dense_epochs, seed))
    return network, spec


def with_levels(dense: nn.Module, x: Tensor) -> adaptive.SlimmableNetwork:
    """Return a copy of a network with levels that were not fitted; only their norms know them."""
    whole = copy.deepcopy(dense)
    levels = adaptive.make_levels(whole, trace_kernels(whole, tuple(x.shape[1:])), FRACTIONS)
    network = adaptive.SlimmableNetwork(whole, levels)
    adaptive.recalibrate(network, x, batch_size=64)
    return network


def accuracies(
    data: Images, dense: nn.Module, network: adaptive.SlimmableNetwork, epochs: int, seed: int
) -> list[Row]:
    """Return one row per level and condition, on test rows.

    Beside the levels: networks of the same kernels that were each fine-tuned alone, for as many
    epochs, and levels that were not fitted.
    """
    x_train, y_train = mixed(data.train[0], seed), data.train[1]
    separate = [shrink(dense, masks) for masks in network.levels.masks]
    for smaller in separate:
        fit(smaller, x_train, y_train, how(epochs, seed, 2e-3))
    unfitted = with_levels(dense, mixed(data.train[0], 0))
    x, y = data.test
    return [
        {
            "level": level,
            "condition": condition,
            "together": evaluate(network.at(level), rows, y),
            "alone": evaluate(separate[level], rows, y),
            "not fitted": evaluate(unfitted.at(level), rows, y),
        }
        for condition, rows in conditioned(x, 2).items()
        for level in range(len(network.levels))
    ]


def times(network: adaptive.SlimmableNetwork, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    """Return time per image, kernels, work and memory of every level."""
    levels = range(len(network.levels))
    timings = [measure_time(network.at(level), x, repeats=repeats, threads=1) for level in levels]
    return [
        {
            "level": level,
            "kernels pruned": f"{network.levels.sparsity[level]:.0%}",
            "million MACs": network.levels.counts.total_macs[level] / 1e6,
            "ms per image": timing.image_ms,
            "quartiles apart": timing.iqr_ms / timing.images,
            "times faster": timings[0].median_ms / timing.median_ms,
            "memory kB": network.memory_bytes[level] / 1024,
        }
        for level, timing in enumerate(timings)
    ]


def switching(model: adaptive.AdaptiveModel, x: Tensor, repeats: int) -> dict[str, Any]:
    """Return what a decision costs, and a batch that follows one at another level."""
    network = model.network
    n_levels = len(network.levels)
    turns = np.empty((repeats, n_levels, 3))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            again = [_seconds(model.decide, x) for _ in range(5 * repeats)]
            # Level after level in turns, so that a change of the machine's load meets all alike:
            # a batch after another level's, the next one, and a decision between batches.
            for turn, level in product(range(repeats), range(n_levels)):
                part = network.at(level)
                network.at((level - 1) % n_levels)(x)
                calls = (part, part, model.decide)
                turns[turn, level] = [1e3 * _seconds(call, x) for call in calls]
    finally:
        torch.set_num_threads(before)
    # Other processes only add time: of small differences the lower quartile tells more.
    decision = 1e3 * float(np.percentile(again, 25))
    rows = []
    for level in range(n_levels):
        turn = turns[:, level]
        change, stay, between = np.percentile(turn, 25, axis=0)
        low, median, high = np.percentile(turn[:, 0] - turn[:, 1], [25, 50, 75])
        switch = max(change - stay, 0)
        rows.append(
            {
                "level": level,
                "batch ms": stay,
                "after a switch ms": change,
                "extra ms in the same turn": f"{median:.3f} [{low:.3f}, {high:.3f}]",
                "decision ms": decision,
                "switch and decision %": 100 * (switch + decision) / stay,
                "decision between batches ms": between,
                "with it %": 100 * (switch + between) / stay,
            }
        )
    return {"rows": rows, "images": len(x)}


def _seconds(call: Callable[[Tensor], Any], x: Tensor) -> float:
    begun = time.perf_counter()
    call(x)
    return time.perf_counter() - begun


def drift(model: adaptive.AdaptiveModel, data: Images, batch_size: int, seed: int) -> list[Row]:
    """Return one row per batch of the stream: what was chosen, and what each level would get."""
    rows = []
    by_all_images = adaptive.LevelPolicy(model.policy.rule, model.policy.hold)
    with torch.inference_mode():
        for batch in stream(*data.test, batch_size, seed):
            model.power_budget_share = batch.budget
            levels = range(len(model.network.levels))
            outputs = [model(batch.x), *(model.network(batch.x, level) for level in levels)]
            right = [float((out.argmax(dim=1) == batch.y).float().mean()) for out in outputs]
            mean, budget = input_statistics(batch.x).mean, model.power_budget_mw
            rows.append(
                {
                    "condition": batch.condition,
                    "budget_mw": budget,
                    "level": model.level,
                    "level_by_all_images": by_all_images.choose(mean, budget),
                    "power_mw": model.history[-1].power_mw,
                    "accuracy": right[0],
                    "accuracy_of_levels": right[1:],
                }
            )
    return rows


def level_power(levels: adaptive.Levels, image_seconds: float) -> list[Reading]:
    """Return (A,) the mean power of each level for images of a fixed period.

    Weights are read from main memory once per image, activations written and read once.
    """
    counts = levels.counts
    traffic = 4 * counts.total_parameters + 2 * counts.activation_bytes.sum(axis=-1)
    return [
        power(DEVICE, Workload(macs=float(macs), dram_bytes=float(moved)), image_seconds)
        for macs, moved in zip(counts.total_macs, traffic, strict=True)
    ]


def prepared(
    dense: nn.Module, spec: ModelSpec, data: Images, setting: SimpleNamespace, seed: int
) -> tuple[adaptive.AdaptiveModel, adaptive.LevelTable]:
    """Return the adaptive model of a dense network as it is used, and the table of its policy."""
    x, y = mixed(data.train[0], seed), data.train[1]
    network = with_levels(dense, x)
    adaptive.fit_levels(network, x, y, how(setting.epochs, seed, 2e-3))
    # Images come as fast as the device could compute the whole network at its peak.
    image_seconds = float(network.levels.counts.total_macs[0]) / DEVICE.fp32_macs_per_second
    power_mw = level_power(network.levels, image_seconds)
    x_val, y_val = data.val
    table = adaptive.measure_levels(network, conditioned(x_val, 1), y_val, power_mw)
    least = float(table.accuracy[0, 0]) - TOLERANCE
    model = adaptive.AdaptiveModel(network, adaptive.LevelPolicy(adaptive.TableRule(table, least)))
    # Written to its file and read again, as a device would have it.
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.pt", spec)
        return adaptive.AdaptiveModel.load(Path(folder) / "model.pt"), table


def measure(data: Images, setting: SimpleNamespace, seed: int) -> dict[str, Any]:
    """Run all of it."""
    begun = time.perf_counter()
    dense, spec = dense_network(data, setting, seed)
    model, table = prepared(dense, spec, data, setting, seed)
    network, batch = model.network, data.test[0][: setting.batch_size]
    macs = float(network.levels.counts.total_macs[0])
    return {
        "data": data.source,
        "rows": [len(part[1]) for part in (data.train, data.val, data.test)],
        "power_mw": table.power_mw.tolist(),
        "power_source": table.power_source,
        "images_per_second": 1 / (macs / DEVICE.fp32_macs_per_second),
        "least_accuracy": float(table.accuracy[0, 0]) - TOLERANCE,
        "validation": table.accuracy.tolist(),
        "times": times(network, batch, setting.repeats),
        "switching": switching(model, batch, setting.repeats),
        "accuracies": accuracies(data, dense, network, setting.epochs, seed),
        "stream": drift(model, data, setting.batch_size, seed),
        "seconds": time.perf_counter() - begun,
    }
