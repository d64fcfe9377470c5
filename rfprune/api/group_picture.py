"""The weights of a layer by hardware group, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rfprune.core.arrays import IntArray
from rfprune.core.registry import nearest
from rfprune.errors import RunsError, UnknownNameError
from rfprune.results.figures import INK, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rfprune.trial import Restored

__all__ = ["groups_figure"]

#: Neighbouring groups get colours far apart on the wheel: the golden ratio never repeats.
_GOLDEN = 0.618033988749895


def groups_figure(restored: Restored, layer: str | None = None) -> Figure:
    """Return the weights of a layer: a colour per group that stayed, white where pruned.

    A dense layer's weight (n_out, n_in) is drawn as it is; a kernel's (n_out, n_in, ...) with all
    axes but the first one after the other.

    Args:
        restored: a trial at a step.
        layer: name of the layer; the first one if None.

    Raises:
        UnknownNameError: no such layer.
        RunsError: the network has no groups of weights.
    """
    from matplotlib.colors import hsv_to_rgb

    prunable = restored.prepared.deployment.prunable
    weights = {prunable.layers[weight.layer]: weight for weight in prunable.weights}
    if not weights:
        raise RunsError("this network has no groups of weights to draw.")
    name = layer or next(iter(weights))
    if name not in weights:
        raise UnknownNameError(
            f"plot: unknown layer '{name}'.{nearest(name, weights)} Known: {', '.join(weights)}."
        )
    weight = weights[name]
    values = dict(restored.model.named_parameters())[weight.parameter].detach().cpu()
    labels: IntArray = weight.label.cpu().numpy().reshape(len(values), -1)
    mask = restored.masks.get(name)
    kept = np.ones_like(labels, dtype=bool) if mask is None else mask.cpu().numpy() != 0
    kept = np.broadcast_to(kept.reshape(len(kept), -1), labels.shape)
    wheel = np.stack(
        [(labels * _GOLDEN) % 1.0, np.full(labels.shape, 0.45), np.full(labels.shape, 0.85)], -1
    )
    picture = np.where(kept[..., None], hsv_to_rgb(wheel), 1.0)
    figure = new_figure(7.0, 1.2 + min(6.0, 5.6 * labels.shape[0] / max(labels.shape)))
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    groups, left = len(np.unique(labels)), len(np.unique(labels[kept])) if kept.any() else 0
    axes.set_title(f"{name}: {left} of {groups} groups left", loc="left", color=INK, size=10.5)
    axes.set_xlabel("input", color=INK)
    axes.set_ylabel("output", color=INK)
    axes.tick_params(colors=INK, labelsize=8.5)
    return figure
