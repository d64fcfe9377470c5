"""The levels as ONNX files, with a controller that needs numpy and onnxruntime alone.

::

    DIR/
        level0.onnx ...     one network per level
        controller.json     what each level achieved, and the limits within which the device learns
        runner.py           runs them: `rfprune.edge.adaptive.runner`, a copy
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rfprune.core.digests import sha256_of
from rfprune.core.files import write_json
from rfprune.data import Dataset
from rfprune.edge.adaptive import runner
from rfprune.edge.adaptive.level_table import LevelTable
from rfprune.edge.adaptive.slimmable import SlimmableNetwork
from rfprune.edge.monitor import Readings
from rfprune.exporting.onnx import write_onnx
from rfprune.tasks import Task
from rfprune.training import outputs_of

__all__ = ["LIMITS", "controller_values", "write_device_files"]

#: Within which the device learns. `shift`: how far the score of a level may move from its
#: validation score; `ratio`: the same for its energy, as a factor; `explore`: share of batches
#: that try a cheaper level, which may be worse by `margin` at most; `hold`: batches for which a
#: change has to be wanted; `prior`: batches that the table counts for; `memory`: batches that are
#: remembered; `save_every`: batches after which the state is written.
LIMITS = {
    "shift": 0.2,
    "ratio": 4.0,
    "explore": 0.05,
    "margin": 0.05,
    "hold": 3,
    "prior": 10,
    "memory": 200,
    "save_every": 16,
}


def write_device_files(
    folder: Path,
    network: SlimmableNetwork,
    table: LevelTable,
    readings: list[Readings],
    rows: Mapping[str, Tensor],
    data: Dataset,
    task: Task,
    least_accuracy: float,
) -> None:
    """Write what a device needs.

    Args:
        folder: that exists.
        network: in evaluation mode; it is moved to the CPU.
        table: what its levels achieve.
        readings: (A,) what each takes.
        rows: (N, ...) validation rows under each condition of the table.
        data: says how raw rows are scaled.
        task: of the network.
        least_accuracy: what is good enough, as in `TableRule`.
    """
    network = network.to("cpu")
    for level in range(len(network.levels)):
        shape = network.levels.kernels.input_shape
        write_onnx(folder / f"level{level}.onnx", network.at(level), shape)
    values = controller_values(network, table, readings, rows, data, task, least_accuracy)
    write_json(folder / "controller.json", values)
    shutil.copyfile(str(runner.__file__), folder / "runner.py")


def controller_values(
    network: SlimmableNetwork,
    table: LevelTable,
    readings: list[Readings],
    rows: Mapping[str, Tensor],
    data: Dataset,
    task: Task,
    least_accuracy: float,
) -> dict[str, Any]:
    """Return what ``controller.json`` holds; arguments as `write_device_files`."""
    values: dict[str, Any] = {
        "conditions": list(table.conditions),
        "statistics": list(table.statistics),
        "mean": table.mean.tolist(),
        "scale": table.scale.tolist(),
        "accuracy": table.accuracy.tolist(),
        "confidence": _confidence(network, rows, task) if task.has_confidence else None,
        "power_mw": table.power_mw.tolist(),
        "energy_mj": [found.energy.value for found in readings],
        "ms": [found.time.value * 1e3 for found in readings],
        "source": table.power_source,
        "least_accuracy": least_accuracy,
        "offset": data.offset.cpu().tolist(),
        "divisor": data.scale.cpu().tolist(),
        "limits": LIMITS,
    }
    # A state that was learned from another table is none of this one.
    values["digest"] = sha256_of(json.dumps(values, sort_keys=True))
    return values


def _confidence(
    network: SlimmableNetwork, rows: Mapping[str, Tensor], task: Task
) -> list[list[float]]:
    """Return (C, A) how sure each level is: the mean of the largest probability."""
    found: list[list[float]] = []
    for x in rows.values():
        outputs = [outputs_of(network.at(n), x.cpu(), task) for n in range(len(network.levels))]
        found.append([float(o.softmax(dim=1).amax(dim=1).mean()) for o in outputs])
    return found
