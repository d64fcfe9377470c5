"""Draws how groups lie in a weight matrix: ``python -m docs.pictures.groups``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.drawing import RED, picture
from benchmarks.report import ROOT
from rfprune.fpga.groups import LayerGroups, build_groups
from rfprune.fpga.layers import plan, trace
from rfprune.spec import HardwareSpec, PruneSpec

IMAGES = ROOT / "docs" / "images"
_CASES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("one multiplier: RF 4", {"reuse_factor": 4}, "dsp"),
    ("one multiplier: RF 32", {"reuse_factor": 32}, "dsp"),
    (
        "one BRAM word: RF 4, 18 bits",
        {"reuse_factor": 4, "weight_precision": "fixed<18,6>"},
        "bram",
    ),
    ("one neuron", {"reuse_factor": 4}, "filter"),
    ("one block of 2 x 8: RF 4", {"reuse_factor": 4}, "block"),
)


def layer_groups(hardware: dict[str, Any], structure: str) -> LayerGroups:
    """Return the groups of a 16 x 8 dense layer."""
    planned = plan(
        trace(nn.Sequential(nn.Linear(16, 8)), (16,)), HardwareSpec.model_validate(hardware)
    )
    return build_groups(planned, PruneSpec(block=(2, 8)), structure).layers[0]


def groups_picture(path: Path) -> None:
    """Draw how groups lie in the weight matrix."""
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(["#dbe7f3", "#8fb4d9", "#c9c3e6", "#9a8fd0", "#d4ead2", "#93c78e"])
    with picture(path, len(_CASES), size=(2.6, 2.3), sharey=True) as axes:
        for axis, (title, hardware, structure) in zip(axes, _CASES, strict=True):
            label = layer_groups(hardware, structure).label.reshape(8, 16).numpy()
            axis.imshow(_distinct(label), cmap=colors, vmin=0, vmax=5)
            for row, column in np.argwhere(label == label[2, 4]):
                axis.text(column, row, "x", ha="center", va="center", fontsize=8, color=RED)
            axis.set_title(f"{title}\n{label.max() + 1} groups", fontsize=10)
            axis.set_xticks([])
            axis.set_xlabel("16 inputs", fontsize=9)
            axis.tick_params(length=0)
            axis.grid(visible=False)
        axes[0].set_ylabel("8 outputs", fontsize=9)
        axes[0].set_yticks([])


def _distinct(label: np.ndarray) -> np.ndarray:
    """Return colour numbers such that groups side by side and above each other differ."""
    across = label - label[:, :1]
    return np.asarray(label % 2 + 2 * (label // max(1, int(across.max()) + 1) % 3))


if __name__ == "__main__":
    groups_picture(IMAGES / "groups.png")
    print(f"written: {IMAGES / 'groups.png'}")
