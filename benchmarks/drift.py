"""An adaptive model on a stream that drifts to where its table is wrong.

``python -m benchmarks.drift [--page]``. The controller of the device's runner decides and learns;
what every level makes of every batch is computed beforehand, so that all of them see the same
stream. Explained on its page, ``pages/drift.md``.
"""

import argparse
import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import Study, render, sentence, table
from benchmarks.statistics import spread
from rfprune.core.arrays import FloatArray
from rfprune.core.named import one_input
from rfprune.data import Dataset, load
from rfprune.data.spec import DataSpec
from rfprune.edge.adaptive import SlimmableNetwork, fit_levels, make_levels, measure_levels
from rfprune.edge.adaptive.device_files import controller_values
from rfprune.edge.adaptive.federation import federate
from rfprune.edge.adaptive.runner import Controller
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.kernels import trace_kernels
from rfprune.edge.monitor import DEVICES
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.results.statistics import contrast, holm
from rfprune.spec import EdgeSpec
from rfprune.spec.training import TrainSpec
from rfprune.tasks import TaskSpec, make_task
from rfprune.training import Fit, fit, seed_everything

FRACTIONS = (0.0, 0.25, 0.5, 0.75)
#: Noise and brightness: those that the table was measured under, and those it never saw.
KNOWN = {"clean": (0.0, 1.0), "dark": (0.0, 0.5), "noisy": (0.25, 1.0)}
UNSEEN = {"darker": (0.05, 0.25), "noisier": (0.45, 0.9), "dark and noisy": (0.25, 0.5)}
PHASES = ("clean", "dark", "darker", "noisy", "noisier", "clean", "dark and noisy", "clean")
BATCHES, BATCH, RAMP = 40, 32, 10
#: What is good enough: the whole network on clean rows, less this.
TOLERANCE = 0.05


class Seen(NamedTuple):
    """One batch: a few rows of it, and what each level (A,) makes of all of them."""

    condition: str
    rows: Any
    right: FloatArray
    sure: FloatArray


def disturbed(x: Tensor, change: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Return rows in less light and with the noise of a sensor."""
    noise, brightness = change
    return (brightness * x + noise * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def network_of(data: Dataset, seed: int) -> SlimmableNetwork:
    """Return a network with levels, fitted to clean, dark and noisy rows."""
    seed_everything(seed)
    spec = ModelSpec(name="edge_cnn", args={"channels": [8, 12, 16]})
    whole = build(spec, data.input_shape, data.n_outputs)
    generator = torch.Generator().manual_seed(seed)
    clean = data.x_train[:]
    x = torch.cat([disturbed(clean, change, generator) for change in KNOWN.values()])
    y = data.y_train.repeat(len(KNOWN))
    train = TrainSpec(batch_size=64, learning_rate_schedule="cosine", device="cpu")
    fit(whole, x, y, Fit(6, 5e-3, train, seed))
    kernels = trace_kernels(whole.eval(), one_input(data.input_shape, "a stream"))
    network = SlimmableNetwork(whole, make_levels(whole, kernels, FRACTIONS))
    fit_levels(network.train(), x, y, Fit(6, 3e-3, train, seed))
    return network.eval()


def controller_table(network: SlimmableNetwork, data: Dataset, seed: int) -> dict[str, Any]:
    """Return the ``controller.json`` that a device would get."""
    generator = torch.Generator().manual_seed(1000 + seed)
    rows = {name: disturbed(data.x_val[:], change, generator) for name, change in KNOWN.items()}
    costs = EdgeCosts(network.levels.kernels, DEVICES["raspberry_pi_4"], EdgeSpec())
    readings = [costs.readings(masks.kept) for masks in network.levels.masks]
    power = [found.energy for found in readings]
    found = measure_levels(network, rows, data.y_val, power)
    task = make_task(TaskSpec())
    least = float(found.accuracy[0, 0]) - TOLERANCE
    return controller_values(network, found, readings, rows, data, task, least)


def stream(
    network: SlimmableNetwork, data: Dataset, seed: int, phases: Sequence[str] = PHASES
) -> Iterator[Seen]:
    """Yield batches of test rows whose condition drifts from phase to phase."""
    generator = torch.Generator().manual_seed(2000 + seed)
    changes, before = {**KNOWN, **UNSEEN}, "clean"
    x_test, y_test = data.x_test[:], data.y_test
    for phase in phases:
        for number in range(BATCHES):
            share = min(1.0, (number + 1) / RAMP)
            ends = zip(changes[before], changes[phase], strict=True)
            noise, brightness = ((1 - share) * old + share * new for old, new in ends)
            rows = torch.randint(len(x_test), (BATCH,), generator=generator)
            x, y = disturbed(x_test[rows], (noise, brightness), generator), y_test[rows]
            with torch.inference_mode():
                outputs = [network.at(level)(x).softmax(dim=1) for level in range(len(FRACTIONS))]
            yield Seen(
                phase,
                x[::4].numpy(),
                np.array([float((out.argmax(dim=1) == y).float().mean()) for out in outputs]),
                np.array([float(out.amax(dim=1).mean()) for out in outputs]),
            )
        before = phase


def lived(
    controller: Controller, batches: list[Seen], labels: float, learns: bool, seed: int
) -> list[int]:
    """Return the level of every batch; a share of the batches shows its labels afterwards."""
    rng, levels = np.random.default_rng(seed), []
    for batch in batches:
        level = controller.decide(batch.rows)
        levels.append(level)
        shown = rng.random() < labels
        if learns:
            right = float(batch.right[level]) if shown else None
            sure = float(batch.sure[level])
            controller.learn(level, float(controller.ms[level]), sure, None, right)
    return levels


def oracle(batches: list[Seen], energy: FloatArray, least: float) -> list[int]:
    """Return the cheapest level that is good enough under the condition of a batch, as it is.

    By the mean over all batches of the condition, on the test rows themselves: no policy that
    knows the condition alone can do better for its wanted accuracy.
    """
    means = {
        name: np.mean([b.right for b in batches if b.condition == name], axis=0)
        for name in {batch.condition for batch in batches}
    }
    chosen = {}
    for name, right in means.items():
        good = min(float(right.max()), least)
        chosen[name] = min(np.flatnonzero(right >= good), key=lambda level: float(energy[level]))
    return [int(chosen[batch.condition]) for batch in batches]


def mixture(batches: list[Seen], energy: FloatArray, spent: float) -> float:
    """Return the best mean accuracy of two levels that are mixed to the same mean energy."""
    right = np.mean([batch.right for batch in batches], axis=0)
    best = -np.inf
    for a in range(len(energy)):
        for b in range(len(energy)):
            if energy[a] <= spent <= energy[b] and energy[a] < energy[b]:
                share = (spent - energy[a]) / (energy[b] - energy[a])
                best = max(best, (1 - share) * right[a] + share * right[b])
    return float(best if np.isfinite(best) else right[int(np.argmin(np.abs(energy - spent)))])


def of_seed(data: Dataset, seed: int) -> list[dict[str, Any]]:
    """Return accuracy and energy of every strategy on one stream."""
    network = network_of(data, seed)
    known, batches = controller_table(network, data, seed), list(stream(network, data, seed))
    energy = np.asarray(known["energy_mj"])
    quiet = copy.deepcopy(known)
    quiet["limits"]["explore"] = 0.0
    levels = {
        "table alone": lived(Controller(quiet), batches, 0, False, seed),
        "learns from confidence": lived(Controller(known), batches, 0, True, seed),
        "learns, a tenth labelled": lived(Controller(known), batches, 0.1, True, seed),
        "learns, all labelled": lived(Controller(known), batches, 1, True, seed),
        "killed and restarted": _killed(known, batches, seed),
        "begins with four other devices' state": _federated(known, network, data, batches, seed),
        "oracle of the condition": oracle(batches, energy, known["least_accuracy"]),
    }
    rows = []
    for name, chosen in levels.items():
        right = [batch.right[level] for batch, level in zip(batches, chosen, strict=True)]
        spent = float(energy[chosen].mean())
        static = mixture(batches, energy, spent)
        rows.append(
            {
                "strategy": name,
                "seed": seed,
                "accuracy": float(np.mean(right)),
                "energy_share": spent / float(energy[0]),
                "mixture": static,
                "levels": np.bincount(chosen, minlength=len(energy)).tolist(),
            }
        )
    return rows


def _killed(known: dict[str, Any], batches: list[Seen], seed: int) -> list[int]:
    """Return the levels of a device that dies every hundred batches and reads its state again."""
    levels: list[int] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        for start in range(0, len(batches), 100):
            part = batches[start : start + 100]
            levels += lived(Controller(known, path), part, 1, True, seed + start)
    return levels


def _federated(
    known: dict[str, Any], network: SlimmableNetwork, data: Dataset, batches: list[Seen], seed: int
) -> list[int]:
    """Return the levels of a device that begins with what four others have learned, by labels."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "controller.json").write_text(json.dumps(known))
        states = []
        for other in range(1, 5):
            states.append(folder / f"{other}.json")
            # Each has seen two phases alone.
            phases = PHASES[2 * (other - 1) : 2 * other]
            theirs = list(stream(network, data, 100 * other + seed, phases))
            lived(Controller(known, states[-1]), theirs, 1, True, seed)
        federate(folder, states, folder / "state.json")
        return lived(Controller(known, folder / "state.json"), batches, 0, True, seed)


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Return the rows of all seeds."""
    torch.set_num_threads(1)
    data = load(DataSpec(name="digits_images"), Path.cwd())
    return {"rows": [row for seed in range(given.seeds) for row in of_seed(data, seed)]}


def summary(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row per strategy: beside the best mixture of the same energy."""
    names = list(dict.fromkeys(row["strategy"] for row in result["rows"]))
    of = {name: [row for row in result["rows"] if row["strategy"] == name] for name in names}
    tested = [
        contrast(
            np.array([row["accuracy"] for row in rows]),
            np.array([row["mixture"] for row in rows]),
            paired=True,
        )
        for rows in of.values()
    ]
    corrected = holm([found.p for found in tested])
    for (name, rows), found, p in zip(of.items(), tested, corrected, strict=True):
        yield {
            "strategy": name,
            "accuracy %": spread([100 * row["accuracy"] for row in rows]),
            "energy, % of the whole network's": spread([100 * row["energy_share"] for row in rows]),
            "best fixed mixture %": spread([100 * row["mixture"] for row in rows]),
            "better by (points)": f"{100 * found.mean:+.2f} "
            f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}]",
            "p (Holm)": f"{p:.2g}",
            "detectable (points)": round(100 * found.detectable, 2),
            "batches by level, first seed": rows[0]["levels"],
        }


def page(result: dict[str, Any]) -> str:
    """Return the page."""
    seeds = {row["seed"] for row in result["rows"]}
    made = f"Made by `{result['command']}`. {sentence(result['facts'])}"
    return render("drift", made=made, seeds=str(len(seeds)), rows=table(summary(result)))


if __name__ == "__main__":
    Study(
        "drift",
        "an adaptive model on a stream that drifts to where its table is wrong",
        measured,
        page,
        packages=("rfprune", "torch", "numpy", "scipy"),
        options={"--seeds": (int, 5, "networks and streams")},
    ).run()
