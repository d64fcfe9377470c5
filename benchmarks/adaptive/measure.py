"""One network, several levels of pruning, a drifting input: ``python -m benchmarks.adaptive``.

A small residual network is trained on photos, and four levels of it are fitted together in one set
of weights. Measured are the time per image of every level and what a change of level costs, the
accuracy of every level under each condition, beside networks of the same kernels that were each
fine-tuned alone for as many epochs, and a stream: clean, noisy, dark, clean, dark; in the last
part the power budget falls and rises.

Half of the training images are clean, the others noisy or dark. The policy's table is measured on
validation rows; everything that is reported, on test rows. `--quick` is a run of a minute that
shows that all of it works; its numbers mean little.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.adaptive.data import CONDITIONS, Images, disturbed, images, mixed, stream
from benchmarks.adaptive.page import PAGE, page, plot
from benchmarks.report import facts, print_result
from rfprune.adaptive import (
    AdaptiveModel,
    LevelPolicy,
    Levels,
    LevelTable,
    SlimmableNetwork,
    TableRule,
    fit_levels,
    level_power,
    make_levels,
    measure_levels,
    recalibrate,
)
from rfprune.kernels import shrink, trace_kernels
from rfprune.models import ModelSpec, build
from rfprune.monitor import DEVICES, input_statistics, measure_time
from rfprune.spec.trial import AugmentSpec, TrainSpec
from rfprune.training import Fit, evaluate, fit, seed_everything

PACKAGES = ("rfprune", "numpy", "torch")
FRACTIONS = (0.0, 0.25, 0.5, 0.75)
DEVICE = DEVICES["raspberry_pi_4"]
#: What the policy may lose under the best condition, to save power.
TOLERANCE = 0.08


@dataclass(frozen=True)
class Setting:
    """Size of the run.

    Attributes:
        n_classes, image_size: of the data.
        channels: widths of the network.
        dense_epochs: of the whole network, before it has levels.
        epochs: of the levels together, and of each network that is fine-tuned alone.
        batch_size: of the stream and of the times.
        repeats: of each time.
    """

    n_classes: int = 6
    image_size: int = 32
    channels: tuple[int, ...] = (16, 32, 64)
    dense_epochs: int = 20
    epochs: int = 18
    batch_size: int = 64
    repeats: int = 60


QUICK = Setting(n_classes=5, channels=(8, 16, 32), dense_epochs=6, epochs=3, repeats=15)


def how(epochs: int, seed: int, learning_rate: float = 3e-3) -> Fit:
    """Return how every network here is trained."""
    train = TrainSpec(
        batch_size=64,
        learning_rate_schedule="cosine",
        weight_decay=1e-4,
        optimizer="adamw",
        augment=AugmentSpec(crop_padding=3, flip=True),
        device="cpu",
    )
    return Fit(epochs=epochs, learning_rate=learning_rate, train=train, seed=seed)


def conditioned(x: Tensor, seed: int) -> dict[str, Tensor]:
    """Return rows as they look under each condition."""
    generator = torch.Generator().manual_seed(seed)
    return {name: disturbed(x, *change, generator) for name, change in CONDITIONS.items()}


def dense_network(data: Images, setting: Setting, seed: int) -> tuple[nn.Module, ModelSpec]:
    """Return the trained network without levels, and what it was built from."""
    seed_everything(seed)
    spec = ModelSpec(name="edge_cnn", args={"channels": list(setting.channels)})
    network = build(spec, tuple(data.train[0].shape[1:]), data.n_classes)
    fit(network, mixed(data.train[0], seed), data.train[1], how(setting.dense_epochs, seed))
    return network, spec


def fitted(dense: nn.Module, data: Images, setting: Setting, seed: int) -> SlimmableNetwork:
    """Return levels of a copy of the dense network, fitted together."""
    x, y = mixed(data.train[0], seed), data.train[1]
    network = with_levels(dense, x)
    fit_levels(network, x, y, how(setting.epochs, seed, 2e-3))
    return network


def with_levels(dense: nn.Module, x: Tensor) -> SlimmableNetwork:
    """Return a copy of a network with levels that were not fitted; only their norms know them."""
    whole = copy.deepcopy(dense)
    levels = make_levels(whole, trace_kernels(whole, tuple(x.shape[1:])), FRACTIONS)
    network = SlimmableNetwork(whole, levels)
    recalibrate(network, x, batch_size=64)
    return network


def alone(
    dense: nn.Module, levels: Levels, data: Images, epochs: int, seed: int
) -> list[nn.Module]:
    """Return, per level, a network of the same kernels that was fine-tuned for itself."""
    x, y = mixed(data.train[0], seed), data.train[1]
    found = []
    for masks in levels.masks:
        smaller = shrink(dense, masks)
        fit(smaller, x, y, how(epochs, seed, 2e-3))
        found.append(smaller)
    return found


def accuracies(
    data: Images, dense: nn.Module, network: SlimmableNetwork, separate: list[nn.Module]
) -> list[dict[str, Any]]:
    """Return one row per level and condition, on test rows."""
    x, y = data.test
    unfitted = with_levels(dense, mixed(data.train[0], 0))
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


def times(network: SlimmableNetwork, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    """Return time per image, kernels, work and memory of every level."""
    counts, dense_ms, rows = network.levels.counts, None, []
    for level in range(len(network.levels)):
        timing = measure_time(network.at(level), x, repeats=repeats, threads=1)
        dense_ms = dense_ms or timing.median_ms
        rows.append(
            {
                "level": level,
                "kernels pruned": f"{network.levels.sparsity[level]:.0%}",
                "million MACs": counts.total_macs[level] / 1e6,
                "ms per image": timing.image_ms,
                "quartiles apart": timing.iqr_ms / timing.images,
                "times faster": dense_ms / timing.median_ms,
                "memory kB": network.memory_bytes[level] / 1024,
            }
        )
    return rows


def switching(model: AdaptiveModel, x: Tensor, repeats: int) -> dict[str, Any]:
    """Return what a decision costs, and a batch that follows one at another level."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            again = [_seconds(model.decide, x) for _ in range(5 * repeats)]
            turns = 1e3 * np.array([_turn(model, x) for _ in range(repeats)])
    finally:
        torch.set_num_threads(before)
    # Other processes only add time: of small differences the lower quartile tells more.
    decision = 1e3 * float(np.percentile(again, 25))
    rows = []
    for level, turn in enumerate(turns.swapaxes(0, 1)):
        change, stay, between = np.percentile(turn, 25, axis=0)
        low, median, high = np.percentile(turn[:, 0] - turn[:, 1], [25, 50, 75])
        switch = max(change - stay, 0)
        rows.append(
            {
                "level": level,
                "batch ms": stay,
                "after a switch ms": change,
                "of a turn, dearer by ms": f"{median:.3f} [{low:.3f}, {high:.3f}]",
                "decision ms": decision,
                "switch and decision %": 100 * (switch + decision) / stay,
                "decision between batches ms": between,
                "with it %": 100 * (switch + between) / stay,
            }
        )
    return {"rows": rows, "images": len(x)}


def _turn(model: AdaptiveModel, x: Tensor) -> list[tuple[float, float, float]]:
    """Return, per level, the seconds of a batch after another level's, of the next, of a decision.

    In turns, so that a change of the machine's load meets all alike.
    """
    found = []
    for level in range(len(model.network.levels)):
        part = model.network.at(level)
        model.network.at((level - 1) % len(model.network.levels))(x)
        found.append((_seconds(part, x), _seconds(part, x), _seconds(model.decide, x)))
    return found


def _seconds(call: Callable[[Tensor], Any], x: Tensor) -> float:
    begun = time.perf_counter()
    call(x)
    return time.perf_counter() - begun


def drift(model: AdaptiveModel, data: Images, setting: Setting, seed: int) -> list[dict[str, Any]]:
    """Return one row per batch of the stream: what was chosen, and what each level would get."""
    rows = []
    by_all_images = LevelPolicy(model.policy.rule, model.policy.hold)
    with torch.inference_mode():
        for batch in stream(*data.test, setting.batch_size, seed):
            model.power_budget_share = batch.budget
            right = [float((model(batch.x).argmax(dim=1) == batch.y).float().mean())]
            for level in range(len(model.network.levels)):
                logits = model.network(batch.x, level)
                right.append(float((logits.argmax(dim=1) == batch.y).float().mean()))
            rows.append(
                {
                    "condition": batch.condition,
                    "budget_mw": model.power_budget_mw,
                    "level": model.level,
                    "level_by_all_images": by_all_images.choose(
                        input_statistics(batch.x).mean, model.power_budget_mw
                    ),
                    "power_mw": model.history[-1].power_mw,
                    "accuracy": right[0],
                    "accuracy_of_levels": right[1:],
                }
            )
    return rows


def adaptive(
    network: SlimmableNetwork, table: LevelTable, least: float, spec: ModelSpec
) -> AdaptiveModel:
    """Return the model as it is used: written to its file and read again."""
    model = AdaptiveModel(network, LevelPolicy(TableRule(table, least)))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.pt", spec)
        return AdaptiveModel.load(Path(folder) / "model.pt")


def measure(setting: Setting, seed: int) -> dict[str, Any]:
    """Run all of it."""
    begun = time.perf_counter()
    data = images(setting.n_classes, setting.image_size)
    dense, spec = dense_network(data, setting, seed)
    network = fitted(dense, data, setting, seed)
    separate = alone(dense, network.levels, data, setting.epochs, seed)
    # Images come as fast as the device could compute the whole network at its peak.
    image_seconds = float(network.levels.counts.total_macs[0]) / DEVICE.fp32_macs_per_second
    power = level_power(network.levels, DEVICE, image_seconds)
    x_val, y_val = data.val
    table = measure_levels(network, conditioned(x_val, 1), y_val, power)
    least = float(table.accuracy[0, 0]) - TOLERANCE
    model = adaptive(network, table, least, spec)
    batch = data.test[0][: setting.batch_size]
    return {
        "data": data.source,
        "rows": [len(part[1]) for part in (data.train, data.val, data.test)],
        "power_mw": table.power_mw.tolist(),
        "power_source": table.power_source,
        "images_per_second": 1 / image_seconds,
        "least_accuracy": least,
        "validation": table.accuracy.tolist(),
        "times": times(model.network, batch, setting.repeats),
        "switching": switching(model, batch, setting.repeats),
        "accuracies": accuracies(data, dense, network, separate),
        "stream": drift(model, data, setting, seed),
        "seconds": time.perf_counter() - begun,
    }


def main() -> None:
    """Measure, and print or write the result."""
    parser = argparse.ArgumentParser(description="one network, several levels of pruning")
    parser.add_argument("--quick", action="store_true", help="a run of a minute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help=f"write the page and its plot, e.g. {PAGE}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    known = facts(PACKAGES, options.seed)
    command = f"python -m benchmarks.adaptive{' --quick' if options.quick else ''}"
    setting = QUICK if options.quick else Setting()
    result = {"command": command, "facts": known, **measure(setting, options.seed)}
    text = page(result, (__doc__ or "").split("\n\n", 1)[1])
    if options.out:
        plot(result, options.out.with_suffix("") / "stream.png")
        options.out.write_text(text, encoding="utf-8")
    print_result(text, result, options.json)


if __name__ == "__main__":
    main()
