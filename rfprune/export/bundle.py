"""An exported network: everything that is needed to build it, and the proof that it is right.

::

    DIR/
        model.pt            the pruned network: weights and how to build it (no pickled code)
        model.onnx          the same network for other tools
        masks.npz           the weight masks, by layer, in torch's shape
        spec.json           the resolved trial
        metrics.json        every quantity of the chosen point, and why it was chosen
        estimate.json       resources by layer
        parity.json         the C++ simulation beside torch, as a whole and by layer
        hls/                the hls4ml project, ready for Vitis HLS or Vivado HLS
        build.sh build.bat  build it, step by step
        test_vectors.npz    inputs, classes and logits of the rows that were compared
        report.md .html     one page for people
        front.png           the front, the chosen point marked
        SHA256SUMS          of every file; sha256sum -c SHA256SUMS checks them

The folder appears whole or not at all: it is made beside its place and moved there at the end.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn

from rfprune.errors import SimulationError
from rfprune.estimate import Estimate, estimate
from rfprune.estimate.network import design_of
from rfprune.export.build import write_scripts
from rfprune.export.folder import SUMS, check_accuracy, checksums, new_folder
from rfprune.export.onnx import write_onnx
from rfprune.export.report import write_report
from rfprune.export.request import Request, Say, write_masks, write_metrics
from rfprune.export.vectors import write_vectors
from rfprune.hls import Conversion, LayerCode, Parity, compare, convert, read_project
from rfprune.models import architecture, save_checkpoint
from rfprune.runs import StepRecord
from rfprune.runs.files import write_json
from rfprune.training import fixed_point
from rfprune.trial import Prepared, restore

__all__ = ["Exported", "export"]

#: Rows that are simulated: a convolution takes about 0.1 s a row, a dense network some ms.
_ROWS_DENSE, _ROWS_CONV = 1000, 100


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        out: the folder.
        record: the chosen step.
        prepared: its trial, with network and hardware.
        estimate: resources and cycles.
        parity: the C++ simulation beside torch; None if it was not asked for.
        code: multipliers per layer, read from the generated C++.
    """

    out: Path
    record: StepRecord
    prepared: Prepared
    estimate: Estimate
    parity: Parity | None
    code: list[LayerCode]

    def facts(self) -> list[str]:
        """Return what a user should see, one sentence each."""
        facts = []
        if (parity := self.parity) is not None:
            facts.append(
                f"C++ simulation: the same class as torch in fixed point on {parity.agreement:.2%} "
                f"and as torch in float on {parity.float_agreement:.2%} of {parity.rows} test "
                f"rows; largest error of a logit {parity.largest_error:g}."
            )
        live = ", ".join(f"{layer.name} {layer.live_multipliers}" for layer in self.code)
        return [*facts, f"Multipliers in the generated C++: {live}."]


def export(request: Request, say: Say = lambda text: None) -> Exported:
    """Write one accepted step as a folder of its own.

    Args:
        request: which step, and where to.
        say: called with one line per stage.

    Raises:
        RunsError: the step does not exist, its checkpoint is damaged, or the folder is in use or
            cannot be written.
        SimulationError: the C++ simulation disagrees with torch, and `force` is not set.
    """
    record = request.trial.step(request.step)
    with new_folder(request.out) as folder:
        say("loading the network and its data")
        prepared, model = restore(request.trial, request.step)
        with fixed_point(model, prepared.plan, prepared.spec.prune.fixed_point):
            check_accuracy(model, prepared.data, record, request.trial.path)
        say("converting with hls4ml")
        conversion = convert(model, prepared.plan, folder / "hls")
        code = read_project(conversion.write())
        design = design_of(prepared.plan, conversion.network)
        found = estimate(design, prepared.spec.estimator, folder / "hls")
        parity = _simulate(request, prepared, conversion, folder, say)
        exported = Exported(request.out, record, prepared, found, parity, code)
        say("writing the network and the report")
        _write_model(folder, request, prepared, model)
        _write_facts(folder, request, exported)
        write_scripts(folder, prepared.spec.hardware.backend)
        write_report(folder, exported, request.why, request.picture)
        _forget_scratch(folder)
        (folder / SUMS).write_text(checksums(folder))
    return exported


def _simulate(
    request: Request, prepared: Prepared, conversion: Conversion, folder: Path, say: Say
) -> Parity | None:
    rows = request.rows
    if rows is None:
        rows = _ROWS_CONV if conversion.convolves else _ROWS_DENSE
    if rows == 0:
        return None
    data = prepared.data
    say(f"compiling the C++ simulation and running {min(rows, len(data.x_test))} test rows")
    parity, compared = compare(conversion, data.x_test[:rows], data.y_test[:rows])
    if not parity.holds and not request.force:
        raise SimulationError(_disagreement(parity))
    write_vectors(folder, conversion, compared)
    return parity


def _disagreement(parity: Parity) -> str:
    """Return what is wrong, where it begins, and what may help."""
    text = (
        f"the C++ simulation names another class than torch on {1 - parity.agreement:.2%} of "
        f"{parity.rows} test rows (largest error of a logit {parity.largest_error:g}). "
    )
    layer = parity.begins
    if layer is None:
        text += "Each layer alone computes what torch does; wider types in hardware.precision may"
        text += " help; "
    else:
        text += (
            f"The difference begins in layer '{layer.name}', off by up to {layer.largest_error:g} "
            f"on equal inputs (allowed: {layer.tolerance:g}); "
        )
    return text + "--force exports all the same."


def _write_model(folder: Path, request: Request, prepared: Prepared, model: nn.Module) -> None:
    data, spec = prepared.data, prepared.spec
    masks = {layer.name: _weight(model, layer.layer.path) != 0 for layer in prepared.plan.layers}
    origin = architecture(spec.model, request.trial.base_dir())
    extra = {"masks": masks}
    save_checkpoint(folder / "model.pt", model, origin, data.input_shape, data.n_classes, extra)
    write_masks(folder, masks)
    write_onnx(folder / "model.onnx", model, data.input_shape)
    write_json(folder / "spec.json", spec.canonical())


def _weight(model: nn.Module, path: str) -> Tensor:
    weight = model.get_submodule(path).weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def _write_facts(folder: Path, request: Request, exported: Exported) -> None:
    prepared = exported.prepared
    write_metrics(folder, request, exported.record, prepared.data.input_shape)
    write_json(folder / "estimate.json", exported.estimate.to_json(prepared.plan.part))
    if exported.parity is not None:
        write_json(folder / "parity.json", asdict(exported.parity))


def _forget_scratch(folder: Path) -> None:
    """Take the name of the scratch folder out of hls4ml's settings."""
    path = folder / "hls" / "hls4ml_config.yml"
    path.write_text(re.sub(r"(?m)^OutputDir: .*$", "OutputDir: .", path.read_text()))
