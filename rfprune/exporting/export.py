"""An exported network: everything that is needed to use it, and the proof that it is right.

::

    DIR/
        model.pt            the pruned network: weights and how to build it (no pickled code)
        model.onnx          the same network for other tools
        masks.npz           what stayed: masks of weights in torch's shape, or of kernels, by layer
        spec.json           the resolved trial
        metrics.json        every quantity of the chosen point, and why it was chosen
        given/              where it was handed over in Python: what builds the network
        scaling.json        what standardises a row: (raw - offset) / scale, per feature
        estimate.json       costs by layer
        report.md .html     one page for people
        front.png           the front, the chosen point marked
        certificate.json    what was compared with what (`rfprune.exporting.certificate`)
        SHA256SUMS          of every file; sha256sum -c SHA256SUMS checks them

and what the target adds: `rfprune.fpga.bundle`, `rfprune.edge.bundle`. The folder appears whole or
not at all: it is made beside its place and moved there at the end.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rfprune.core.files import write_json
from rfprune.core.given import FOLDER, given_files
from rfprune.core.markdown import bullets
from rfprune.errors import RunsError
from rfprune.exporting.certificate import compare_onnx, note_front, write_certificate
from rfprune.exporting.folder import SUMS, checksums, new_folder
from rfprune.exporting.folding import fold_scaling
from rfprune.exporting.onnx import write_onnx, write_onnx_of_heads
from rfprune.exporting.page import PICTURE, write_page
from rfprune.exporting.raw_rows import taking_raw_rows
from rfprune.exporting.scaling_report import scaling_report
from rfprune.models import architecture, save_checkpoint
from rfprune.results import StepRecord, TrialFolder
from rfprune.training import measure
from rfprune.trial import Prepared, restore
from rfprune.trial.target import Bundle, ExportedParts

__all__ = ["Exported", "Request", "export"]

#: Other hardware may round a few outputs differently. Absolute for fractions, else relative.
_SCORE_TOLERANCE = 0.005


@dataclass(frozen=True)
class Request:
    """What to export.

    Attributes:
        trial: the trial's run folder.
        step: the accepted step.
        out: the folder to create; must not exist, or be empty.
        why: how the point was chosen.
        picture: PNG of the front with the chosen point, for the report.
        rows: test rows for the C++ simulation; None = by network, 0 = no simulation.
        force: export although the simulation disagrees.
        fold_scaling: put the scaling of the inputs into the first layers.
    """

    trial: TrialFolder
    step: int
    out: Path
    why: str = ""
    picture: bytes | None = None
    rows: int | None = None
    force: bool = False
    fold_scaling: bool = False


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        out: the folder.
        record: the chosen step.
        prepared: its trial.
        facts: what a user should see, one sentence each.
    """

    out: Path
    record: StepRecord
    prepared: Prepared
    facts: list[str]


def export(request: Request, say: Callable[[str], None] = lambda text: None) -> Exported:
    """Write one accepted step as a folder of its own.

    `Point.export` and ``rfprune export`` choose the step first. Example::

        from pathlib import Path

        from rfprune.exporting import Request
        from rfprune.results import TrialFolder

        point = rfprune.open("trial").best()
        trial = TrialFolder(point.folder)
        rfprune.export(Request(trial, point.step, Path("by_hand"), rows=50)).facts

    Args:
        request: which step, and where to.
        say: called with one line per stage.

    Raises:
        RunsError: the step does not exist, its checkpoint is damaged, or the folder is in use or
            cannot be written.
        NetworkError: the first layers cannot take the scaling.
        WorkError: what the target builds from the network disagrees with torch, and `force` is
            not set.
    """
    # With repeats the record holds means; the network is that of the first seed.
    record = request.trial.step(request.step).of_its_network()
    with new_folder(request.out) as folder:
        say("loading the network and its data")
        restored = restore(request.trial, request.step)
        prepared, deployment = restored.prepared, restored.prepared.deployment
        final = deployment.final(restored.model, restored.masks).eval()
        _check_scores(final, prepared, record, request.trial.path)
        scaling, folded = prepared.data.scaling, []
        if request.fold_scaling:
            folded = fold_scaling(restored.model, scaling)
            # Made anew: its weights have changed with the scaling.
            final = deployment.final(restored.model, restored.masks).eval()
            prepared = replace(prepared, data=prepared.data.in_raw_units())
        bundle = Bundle(
            folder,
            request.trial.path,
            prepared,
            restored.model,
            final,
            restored.masks,
            record,
            request.rows,
            request.force,
            say,
            folded,
        )
        # First what can fail, the target's C++ above all; then the rest of the folder.
        parts = deployment.export(bundle)
        say("writing the network and the report")
        _write_network(bundle, request, parts)
        write_json(folder / "scaling.json", {**scaling.as_json(), "folded_into": folded})
        title = f"{prepared.spec.model.name} on {deployment.device}"
        text = _report(bundle, request, parts, scaling_report(scaling, prepared.data, folded))
        write_page(folder, title, text, request.picture)
        say("writing the certificate")
        compare_onnx(folder, taking_raw_rows(copy.deepcopy(final), scaling), parts.proof)
        note_front(folder, parts.proof)
        # Last, as they cover every file before them.
        write_certificate(folder, parts.proof)
        (folder / SUMS).write_text(checksums(folder))
    return Exported(request.out, record, prepared, parts.facts)


def _check_scores(model: nn.Module, prepared: Prepared, record: StepRecord, trial: Path) -> None:
    """Measure again: a network that is not the one that was measured must not be exported."""
    data, task = prepared.data, prepared.task
    if prepared.deployment.measured_in_its_numbers(record):
        model = prepared.deployment.prunable.deployed(model)
    validation = measure(model, data.x_val, data.y_val, task, data.w_val)
    found = {f"val_{alias}": value for alias, value in validation.items()}
    found |= measure(model, data.x_test, data.y_test, task, data.w_test)
    fractions = {q.name for q in task.quantities if q.kind == "fraction"}
    for name, value in found.items():
        known = record.values.get(name)
        # A fraction has its own scale; an error in the target's units has none.
        scale = 1.0 if name in fractions else abs(known or 0.0)
        if known is None or abs(value - known) > _SCORE_TOLERANCE * scale + 1e-9:
            said = "no value" if known is None else f"{known:.4f}"
            raise RunsError(
                f"{trial}: step {record.step} had {name} {said}, the checkpoint has {value:.4f}; "
                "the data or the checkpoint has changed."
            )


def _write_network(bundle: Bundle, request: Request, parts: ExportedParts) -> None:
    folder, data, spec = bundle.folder, bundle.prepared.data, bundle.prepared.spec
    shape = data.input_shape
    origin = architecture(spec.model, request.trial.base_dir())
    # The network that others get takes raw rows; this one's layers are those of `model.pt`.
    scaling = data.scaling
    saved = {"target": spec.target.section, "scaling": scaling.saved(), **parts.saved}
    save_checkpoint(folder / "model.pt", bundle.final, origin, shape, data.n_outputs, saved)
    _carry_given(bundle, request.trial.base_dir())
    masks: dict[str, Any] = {name: mask.cpu().numpy() for name, mask in parts.masks.items()}
    np.savez_compressed(folder / "masks.npz", **masks)
    task, file = bundle.prepared.task, folder / "model.onnx"
    # A copy: `model.pt` holds the network without the scaling in front.
    raw = taking_raw_rows(copy.deepcopy(bundle.final), scaling)
    if task.heads:
        write_onnx_of_heads(file, raw, shape, list(task.heads))
    else:
        write_onnx(file, raw, shape, f"{task.output_name}s")
    write_json(folder / "spec.json", spec.canonical())
    write_json(folder / "estimate.json", parts.estimate)
    facts = {
        "trial": request.trial.number,
        "step": bundle.record.step,
        "input_shape": shape,
        "why": request.why,
        # Where the names of data files count from: they stay behind.
        "base_dir": str(request.trial.base_dir().resolve()),
        **bundle.record.model_dump(mode="json"),
    }
    write_json(folder / "metrics.json", facts)


def _carry_given(bundle: Bundle, base_dir: Path) -> None:
    """Bring along what builds a network that was handed over in Python."""
    model = bundle.prepared.spec.model.model_dump(mode="json")
    for name in given_files(model):
        (bundle.folder / FOLDER).mkdir(exist_ok=True)
        shutil.copy2(base_dir / name, bundle.folder / FOLDER / name)


def _network(bundle: Bundle) -> list[str]:
    """Return which network it is, beyond the name in the title: a sweep may have several."""
    model = bundle.prepared.spec.model
    listed = ", ".join(f"{name} = {value}" for name, value in model.args.items())
    return [f"network {model.name}: {listed}"] if listed else []


def _report(bundle: Bundle, request: Request, parts: ExportedParts, scaling: str) -> str:
    score, values = bundle.prepared.task.score, bundle.record.values
    scores = f"test {score} **{values[score]:.4f}**, validation {values[f'val_{score}']:.4f}"
    sections = [
        *([f"Chosen: {request.why}"] if request.why else []),
        bullets([*_network(bundle), scores, *parts.summary]),
        *(
            [f"![front of the sweep, the chosen point marked]({PICTURE})"]
            if request.picture
            else []
        ),
        parts.report,
        "## Inputs",
        scaling,
        "## In Python",
    ]
    model, call = bundle.prepared.spec.model, "rfprune.load('.')"
    if model.is_function:
        # A file must not decide which code runs, so whoever loads it has to say so.
        module = model.name.partition(":")[0]
        given = list(given_files(model.model_dump(mode="json")))
        where = f"it is in `{FOLDER}/`" if given else f"`{module}` must be importable"
        sections.append(f"`{model.name}` builds the network; {where}.")
        call = "rfprune.load('.', run_code=True)"
    return "\n\n".join([*sections, f"```\nimport rfprune\n\nmodel = {call}\n```"])
