"""An exported network for an edge device: physically smaller, with the proof that it is the same.

::

    DIR/
        model.pt            the smaller network: weights and how to build it (no pickled code)
        model.onnx          the same network for other tools
        masks.npz           which kernels stayed, by layer
        policy.pt           the agent's policy, of method akperl
        spec.json           the resolved trial
        metrics.json        every quantity of the chosen point, and why it was chosen
        estimate.json       time, energy and power with their sources; operations by layer
        report.md .html     one page for people
        front.png           the front, the chosen point marked
        SHA256SUMS          of every file
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfprune.errors import RunsError
from rfprune.export.folder import SUMS, check_accuracy, checksums, new_folder
from rfprune.export.onnx import write_onnx
from rfprune.export.page import Code, Grid, Heading, Items, Part, Picture, Text, shown, write_page
from rfprune.export.request import Request, Say, write_masks, write_metrics
from rfprune.kernels import Masks, masked, save_shrunk, shrink
from rfprune.models import architecture
from rfprune.quantities import EDGE
from rfprune.runs import StepRecord
from rfprune.runs.files import write_json
from rfprune.trial import PreparedEdge, restore_edge

__all__ = ["EdgeExported", "export_edge"]

#: Rows on which the smaller network is compared with the masked one, and how far logits may differ:
#: sums of fewer terms are rounded otherwise.
_ROWS, _TOLERANCE = 64, 1e-3


@dataclass(frozen=True)
class EdgeExported:
    """What was exported.

    Attributes:
        out: the folder.
        record: the chosen step.
        prepared: its trial.
        largest_error: of a logit, between the smaller network and the masked one.
    """

    out: Path
    record: StepRecord
    prepared: PreparedEdge
    largest_error: float

    def facts(self) -> list[str]:
        """Return what a user should see, one sentence each."""
        left = ", ".join(f"{name} {n}/{self.record.groups[name]}" for name, n in self._live())
        return [
            f"The smaller network computes what the masked one does; largest error of a logit "
            f"{self.largest_error:.2g}.",
            f"Kernels left: {left}.",
        ]

    def _live(self) -> list[tuple[str, int]]:
        return list(self.record.live.items())


def export_edge(request: Request, say: Say = lambda text: None) -> EdgeExported:
    """Write one accepted step of a trial for an edge device as a folder of its own.

    Args:
        request: which step, and where to; `rows` and `force` have no meaning here.
        say: called with one line per stage.

    Raises:
        RunsError: the step does not exist, its checkpoint is damaged, the smaller network computes
            something else, or the folder is in use or cannot be written.
    """
    record = request.trial.step(request.step)
    with new_folder(request.out) as folder:
        say("loading the network and its data")
        prepared, model, masks = restore_edge(request.trial, request.step)
        smaller = shrink(model, masks).eval()
        check_accuracy(smaller, prepared.data, record, request.trial.path)
        error = _largest_error(prepared, model, masks, smaller, request.trial.path)
        exported = EdgeExported(request.out, record, prepared, error)
        say("writing the network and the report")
        _write_network(folder, request, prepared, smaller, masks)
        _write_facts(folder, request, exported)
        (folder / SUMS).write_text(checksums(folder))
    return exported


def _largest_error(
    prepared: PreparedEdge, model: nn.Module, masks: Masks, smaller: nn.Module, trial: Path
) -> float:
    rows = prepared.data.x_test[:_ROWS]
    with torch.no_grad(), masked(model, masks):
        expected = model(rows)
        error = float((smaller(rows) - expected).abs().max())
    if error > _TOLERANCE * max(1.0, float(expected.abs().max())):
        raise RunsError(
            f"{trial}: the smaller network is off by {error:g} in a logit from the masked one; its "
            "layers do something that pruning does not know."
        )
    return error


def _write_network(
    folder: Path, request: Request, prepared: PreparedEdge, smaller: nn.Module, masks: Masks
) -> None:
    origin = architecture(prepared.spec.model, request.trial.base_dir())
    save_shrunk(folder / "model.pt", smaller, masks, origin, prepared.data.n_classes)
    write_masks(folder, masks)
    write_onnx(folder / "model.onnx", smaller, prepared.data.input_shape)
    write_json(folder / "spec.json", prepared.spec.canonical())
    policy = request.trial.path / "agent" / f"{request.step:03d}" / "policy.pt"
    if policy.exists():
        shutil.copyfile(policy, folder / "policy.pt")


def _write_facts(folder: Path, request: Request, exported: EdgeExported) -> None:
    prepared, record = exported.prepared, exported.record
    write_metrics(folder, request, record, prepared.data.input_shape)
    costs = json.loads(request.trial.estimate(record.step).read_text(encoding="utf-8"))
    write_json(folder / "estimate.json", costs)
    title = f"{prepared.spec.model.name} on {prepared.costs.device.name}"
    write_page(folder, title, list(_parts(request, exported, costs)))


def _parts(request: Request, exported: EdgeExported, costs: dict[str, Any]) -> Iterator[Part]:
    record = exported.record
    if request.why:
        yield Text(f"Chosen: {request.why}")
    yield Items(
        [
            f"test accuracy **{record.accuracy:.4f}**, validation {record.val_accuracy:.4f}",
            f"{record.kernel_sparsity:.1%} of the kernels and {record.sparsity:.1%} of the weights "
            f"are gone (method {exported.prepared.spec.prune.method}, step {record.step})",
            *exported.facts()[:1],
        ]
    )
    if request.picture is not None:
        yield Picture(request.picture)
    yield Heading("Costs")
    yield Grid(["quantity", "amount"], [_row(record, name) for name in ("power_mw", *EDGE)])
    yield Items(
        [
            f"{name}: {reading['kind']}, {reading['source']}"
            for name, reading in costs["readings"].items()
        ]
    )
    yield Heading("Layers")
    left = [[name, str(n), str(record.groups[name])] for name, n in record.live.items()]
    yield Grid(["layer", "kernels", "of dense"], left)
    yield Heading("How to use")
    yield Code('import rfprune\n\nmodel = rfprune.load(".")  # logits of (batch, channels, H, W)')


def _row(record: StepRecord, name: str) -> list[str]:
    return [name, shown(record.metrics()[name])]
