"""An exported network: everything that is needed to build it, and the proof that it is right.

::

    DIR/
        model.pt            the pruned network: weights and how to build it (no pickled code)
        masks.npz           the weight masks, by layer, in torch's shape
        spec.json           the resolved trial
        metrics.json        every quantity of the chosen point, and why it was chosen
        estimate.json       resources by layer
        parity.json         the C++ simulation beside torch
        hls/                the hls4ml project, ready for Vitis HLS or Vivado HLS
        test_vectors.npz    inputs, classes and logits of the rows that were compared
        report.md           one page for people
        manifest.json       SHA-256 of every file

The folder appears whole or not at all: it is made beside its place and moved there at the end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.data import Dataset
from rfprune.errors import RunsError, SimulationError
from rfprune.estimate import Estimate, estimate
from rfprune.estimate.network import design_of
from rfprune.export.report import report_text
from rfprune.hls import LayerCode, Parity, compare, convert, read_project
from rfprune.hls.convert import Conversion
from rfprune.models import architecture, save_checkpoint
from rfprune.runs import StepRecord, TrialFolder
from rfprune.runs.files import write_atomic, write_json
from rfprune.training import evaluate
from rfprune.trial import Prepared, restore

__all__ = ["LEAST_AGREEMENT", "Exported", "Request", "export"]

#: Least fraction of rows on which C++ and torch must name the same class.
LEAST_AGREEMENT = 0.99
#: Rows that are simulated: a convolution takes about 0.1 s a row, a dense network 0.1 ms.
_ROWS_DENSE, _ROWS_CONV = 1000, 100


@dataclass(frozen=True)
class Request:
    """What to export.

    Attributes:
        trial: the trial's run folder.
        step: the accepted step.
        out: the folder to make; must not exist, or be empty.
        why: how the point was chosen.
        rows: test rows for the C++ simulation; None = by network, 0 = no simulation.
        force: export although the simulation disagrees.
    """

    trial: TrialFolder
    step: int
    out: Path
    why: str = ""
    rows: int | None = None
    force: bool = False


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        out: the folder.
        record: the chosen step.
        estimate: resources and cycles.
        parity: the C++ simulation beside torch; None if it was not asked for.
        code: multipliers per layer, read from the generated C++.
    """

    out: Path
    record: StepRecord
    estimate: Estimate
    parity: Parity | None
    code: list[LayerCode]


def export(request: Request, say: Callable[[str], None] = lambda text: None) -> Exported:
    """Write one accepted step as a folder of its own.

    Args:
        request: which step, and where to.
        say: called with one line per stage.

    Raises:
        RunsError: the step does not exist, its checkpoint is damaged, or the folder is in use.
        SimulationError: the C++ simulation disagrees with torch, and `force` is not set.
    """
    record = request.trial.step(request.step)
    with _new_folder(request.out) as folder:
        say("loading the network and its data")
        prepared, model = restore(request.trial, request.step)
        _check_accuracy(model, prepared.data, record, request)
        say("converting with hls4ml")
        conversion = convert(model, prepared.plan, folder / "hls")
        conversion.write()
        code = read_project(folder / "hls")
        design = design_of(prepared.plan, conversion.network)
        found = estimate(design, prepared.spec.estimator, folder / "hls")
        parity = _simulate(request, conversion, prepared.data, folder, say)
        _write_model(folder, request, prepared, model)
        _write_facts(folder, request, record, found, prepared, parity)
        exported = Exported(request.out, record, found, parity, code)
        write_atomic(folder / "report.md", report_text(exported, prepared, request.why))
        _tidy(folder)
        write_json(folder / "manifest.json", _hashes(folder))
    return exported


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a scratch folder that becomes `out` if all goes well, and vanishes otherwise."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunsError(f"{out}: is in use. Allowed: a new or empty folder.")
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    except OSError as error:
        raise RunsError(f"{out}: cannot be written ({error}).") from error
    try:
        yield scratch
        if out.exists():
            out.rmdir()
        scratch.chmod(0o755)
        os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_accuracy(model: nn.Module, data: Dataset, record: StepRecord, request: Request) -> None:
    """Evaluate again: a network that is not the one that was measured must not be exported."""
    found = evaluate(model, data.x_test, data.y_test)
    # Other hardware may round a few logits differently, hence one part in two hundred.
    if not request.trial.spec().prune.fixed_point and abs(found - record.accuracy) > 0.005:
        raise RunsError(
            f"{request.trial.path}: step {record.step} had test accuracy {record.accuracy:.4f}, "
            f"the checkpoint has {found:.4f}; the data or the checkpoint have changed."
        )


def _simulate(
    request: Request,
    conversion: Conversion,
    data: Dataset,
    folder: Path,
    say: Callable[[str], None],
) -> Parity | None:
    rows = request.rows
    if rows is None:
        dense = all(layer.layer.kind.name == "dense" for layer in conversion.plan.layers)
        rows = _ROWS_DENSE if dense else _ROWS_CONV
    if rows == 0:
        return None
    say(f"compiling the C++ simulation and running {min(rows, len(data.x_test))} test rows")
    x, y = data.x_test[:rows], data.y_test[:rows]
    parity, logits = compare(conversion, x, y)
    np.savez(folder / "test_vectors.npz", x=x.numpy(), y=y.numpy(), logits=logits)
    if parity.agreement < LEAST_AGREEMENT and not request.force:
        raise SimulationError(
            f"the C++ simulation names another class than torch on {1 - parity.agreement:.2%} of "
            f"{parity.rows} test rows (largest error of a logit {parity.largest_error:g}). Wider "
            "types in hardware.precision may help; --force exports all the same."
        )
    return parity


def _write_model(folder: Path, request: Request, prepared: Prepared, model: nn.Module) -> None:
    data, spec = prepared.data, prepared.spec
    masks = _masks(prepared, model)
    origin = architecture(spec.model, request.trial.base_dir())
    extra = {"masks": {name: mask.bool() for name, mask in masks.items()}}
    save_checkpoint(folder / "model.pt", model, origin, data.input_shape, data.n_classes, extra)
    arrays: dict[str, Any] = {name: mask.bool().numpy() for name, mask in masks.items()}
    np.savez_compressed(folder / "masks.npz", **arrays)
    write_json(folder / "spec.json", spec.canonical())


def _masks(prepared: Prepared, model: nn.Module) -> dict[str, Tensor]:
    """Return the masks as the weights themselves show them."""
    return {
        layer.name: (_weight(model, layer.layer.path) != 0).to(torch.float32)
        for layer in prepared.plan.layers
    }


def _weight(model: nn.Module, path: str) -> Tensor:
    weight = model.get_submodule(path).weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def _write_facts(
    folder: Path,
    request: Request,
    record: StepRecord,
    found: Estimate,
    prepared: Prepared,
    parity: Parity | None,
) -> None:
    facts: dict[str, Any] = {
        "trial": request.trial.number,
        "step": record.step,
        "input_shape": list(prepared.data.input_shape),
        "why": request.why,
        **record.model_dump(mode="json"),
    }
    write_json(folder / "metrics.json", facts)
    write_json(folder / "estimate.json", found.to_json(prepared.plan.part))
    if parity is not None:
        write_json(folder / "parity.json", asdict(parity))


def _tidy(folder: Path) -> None:
    """Remove what the simulation's build left; the project itself stays."""
    for pattern in ("firmware/*.so", "firmware/*.o", "*.o"):
        for path in (folder / "hls").glob(pattern):
            path.unlink()


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
