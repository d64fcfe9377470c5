"""Runs a network with several levels on its device: numpy and onnxruntime, no torch, no rfprune.

::

    python runner.py DIR rows.npy [--power MW] [--ms MS] [--energy /sys/.../energy_uj] [--batch 16]

For every batch a controller sees the statistics of the input, the budgets, and what was measured:
seconds, energy where a counter is, and how sure the network was. It begins with the table of what
each level achieved on validation rows, and keeps learning within ``limits``, which
``controller.json`` states. What it learned is in ``state.json``, replaced as a whole every few
batches: after a restart, or a kill, it continues from there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Controller", "Runner", "statistics"]


def statistics(x: Any) -> Any:
    """Return (F,) of (B, ...) rows: mean and variance; of images also noise and edge energy."""
    if x.ndim != 4 or min(x.shape[2:]) < 6:
        rows = x.reshape(len(x), -1)
        return np.array([rows.mean(), rows.var(axis=1).mean()])
    # Every second pixel: statistics of the input must cost little beside the network.
    grey = x[:, :, ::2, ::2].mean(axis=1)
    across = np.diff(grey, axis=2)
    curved = np.diff(np.diff(np.diff(across, axis=2), axis=1), axis=1)
    noise = np.sqrt(np.pi / 2) / 6 * np.abs(curved).mean()
    return np.array([grey.mean(), grey.var(axis=(1, 2)).mean(), noise, (across**2).mean()])


class Controller:
    """A table of levels under conditions, corrected by what the device sees (contextual bandit)."""

    def __init__(self, table: dict[str, Any], path: Path | None = None) -> None:
        """Begin with a table, or go on where a state of the same table was left."""
        self.table, self.path, self.limits = table, path, table["limits"]
        arrays = ("mean", "scale", "accuracy", "power_mw", "energy_mj", "ms")
        self.mean, self.scale, self.accuracy, self.power_mw, self.energy_mj, self.ms = (
            np.asarray(table[name], dtype=float) for name in arrays
        )
        levels, zeros = len(self.power_mw), np.zeros_like(self.accuracy)
        self.state = {"shift": zeros.tolist(), "seen": zeros.tolist(), "batches": 0, "level": None}
        self.state |= {"wanted": None, "held": 0, "ratio": [1.0] * levels, "ms": self.ms.tolist()}
        try:
            saved = json.loads(path.read_text()) if path else {}
            # Corrections belong to the table they were learned on.
            if saved.get("table") == table["digest"] and saved["state"].keys() == self.state.keys():
                self.state = saved["state"]
        except (OSError, ValueError, KeyError, AttributeError):
            pass  # None yet, or a damaged one: the table is what is known.

    def decide(self, x: Any, power_mw: float | None = None, ms: float | None = None) -> int:
        """Return the level for a batch, within the budgets where one is (mW; ms per row)."""
        state, limits = self.state, self.limits
        distance = ((self.mean - statistics(x)) / self.scale) ** 2
        self.condition = int(distance.sum(axis=1).argmin())
        quality = self.accuracy[self.condition] + np.array(state["shift"][self.condition])
        power = self.power_mw * np.array(state["ratio"])
        # Where no level is within the budget, the one of least power runs: an answer is always
        # given.
        fits = power <= max(np.inf if power_mw is None else power_mw, power.min())
        fast = np.array(state["ms"]) <= max(np.inf if ms is None else ms, min(state["ms"]))
        allowed = np.flatnonzero(fits & fast if (fits & fast).any() else fits)
        good = min(quality[allowed].max(), self.table["least_accuracy"])
        cheap = allowed[np.argsort(power[allowed], kind="stable")]
        level = int(next(a for a in cheap if quality[a] >= good))
        # Now and then a cheaper level that is nearly good enough, as otherwise nothing is learned.
        near = [int(a) for a in cheap if good > quality[a] >= good - limits["margin"]]
        if near and np.random.default_rng(state["batches"]).random() < limits["explore"]:
            return near[-1]
        # A level is changed only when it has been wanted several times in a row, so that noise does
        # not toggle it.
        state["held"] = state["held"] + 1 if level == state["wanted"] else 1
        state["wanted"] = level
        if state["level"] not in allowed or state["held"] >= limits["hold"]:
            state["level"] = level
        return int(state["level"])

    def learn(
        self, level: int, ms: float, sure: float | None, mj: float | None, right: float | None
    ) -> None:
        """Take what a batch showed: ms and mJ per row, mean confidence, share of right answers."""
        state, known = self.state, self.table["confidence"]
        expected, seen = self.accuracy[self.condition][level], right
        if right is None and sure is not None and known is not None:
            # Without labels: as much worse or better as the network is less or more sure.
            seen = expected + sure - known[self.condition][level]
        state["seen"][self.condition][level] += 1
        n = min(state["seen"][self.condition][level], self.limits["memory"])
        if seen is not None:
            # Bounded: a device that misjudges itself must not leave the table far behind.
            row, most = state["shift"][self.condition], self.limits["shift"]
            row[level] += (seen - expected - row[level]) / (self.limits["prior"] + n)
            row[level] = float(np.clip(row[level], -most, most))
        state["ms"][level] += (ms - state["ms"][level]) / (1 + n)
        if mj is not None:
            ratio, most = state["ratio"][level], self.limits["ratio"]
            ratio += (mj / self.energy_mj[level] - ratio) / n
            state["ratio"][level] = float(np.clip(ratio, 1 / most, most))
        state["batches"] += 1
        if self.path is not None and state["batches"] % self.limits["save_every"] == 0:
            # Written beside it and renamed: a kill leaves the old state or the new one.
            scratch = self.path.with_suffix(f".{os.getpid()}")
            with scratch.open("w") as file:
                json.dump({"table": self.table["digest"], "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, self.path)


class Runner:
    """The levels in a folder, each loaded when it is first wanted."""

    def __init__(self, folder: Path, energy: Path | None = None, state: Path | None = None) -> None:
        """Take a folder of ``rfprune adapt --onnx``; `energy` counts microjoule, as powercap's."""
        self.folder, self.energy, self.sessions = folder, energy, dict[int, Any]()
        self.table = json.loads((folder / "controller.json").read_text())
        self.controller = Controller(self.table, state or folder / "state.json")

    def __call__(
        self, rows: Any, power_mw: float | None = None, ms: float | None = None, labels: Any = None
    ) -> tuple[Any, int]:
        """Return the outputs of (B, ...) rows as they are in the data's files, and their level."""
        # Nobody who runs a network has agreed to send statistics; read when it is imported.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        offset, divisor = (np.float32(self.table[name]) for name in ("offset", "divisor"))
        x = (np.asarray(rows, np.float32) - offset) / divisor
        # A few rows of the batch are enough to see its condition.
        level = self.controller.decide(x[:: max(1, len(x) // 8)], power_mw, ms)
        if level not in self.sessions:
            self.sessions[level] = onnxruntime.InferenceSession(
                str(self.folder / f"level{level}.onnx"), providers=["CPUExecutionProvider"]
            )
        before = int(self.energy.read_text()) if self.energy else 0
        begun = time.perf_counter()
        outputs = self.sessions[level].run(None, {"x": x})[0]
        spent = (time.perf_counter() - begun) * 1e3 / len(x)
        # A counter that has begun again at 0 tells nothing of this batch.
        used = int(self.energy.read_text()) - before if self.energy else -1
        sure = None
        if self.table["confidence"] is not None:
            powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            sure = float((powers.max(axis=1) / powers.sum(axis=1)).mean())
        right = None if labels is None else float((outputs.argmax(axis=1) == labels).mean())
        self.controller.learn(level, spent, sure, used / 1e3 / len(x) if used >= 0 else None, right)
        return outputs, level


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run a network with several levels on rows.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", type=Path, help="a .npy file of rows")
    parser.add_argument("--power", type=float, help="budget in mW")
    parser.add_argument("--ms", type=float, help="budget in ms per row")
    parser.add_argument("--energy", type=Path, help="file that counts microjoule")
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    runner, rows = Runner(given.folder, given.energy), np.load(given.rows)
    for start in range(0, len(rows), given.batch):
        outputs, level = runner(rows[start : start + given.batch], given.power, given.ms)
        print(start, level, *(outputs.argmax(axis=1) if outputs.ndim == 2 else outputs), flush=True)
