"""An exported network in 8-bit integers, and what that costs: accuracy, size and time beside fp32.

::

    DIR/
        model_int8.onnx           static: activations in ranges that calibration rows gave (QDQ)
        model_int8_dynamic.onnx   dynamic: activations in ranges found anew for every batch
        quantization.json         what was measured of each, and of the float network
        report.md .html           the same for people
        SHA256SUMS

Post-training quantization by onnxruntime: weights int8 and symmetric, per output channel where the
format allows it; activations uint8 (B. Jacob et al., arXiv 1712.05877). Nothing is trained.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.files import read_json, write_json
from rfprune.core.markdown import amount, grid
from rfprune.core.onnx_runtime import onnx_runtime
from rfprune.data import Dataset, load
from rfprune.errors import MissingExtraError, NetworkError, RunsError
from rfprune.exporting.folder import SUMS, checksums, new_folder
from rfprune.exporting.onnx import drop_shapes_of_weights
from rfprune.exporting.page import write_page
from rfprune.spec import TrialSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.tasks import Task, make_task
from rfprune.training import measure

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Form", "Quantized", "quantize"]

#: Rows per pass of calibration, and passes that are timed of one row each.
_CALIBRATION_BATCH, _TIMED = 32, 50


@dataclass(frozen=True)
class Form:
    """One way to hold the network's numbers, as it was measured here.

    Attributes:
        name: fp32, int8 or int8 dynamic.
        file: of the network.
        bytes: of the file.
        scores: every metric, on validation rows (``val_M``) and test rows (``M``).
        ms: median time of one row on one thread of this machine.
    """

    name: str
    file: str
    bytes: int
    scores: dict[str, float]
    ms: float


@dataclass(frozen=True)
class Quantized:
    """What was written.

    Attributes:
        out: the folder.
        forms: fp32 first.
        score: the metric that decides.
    """

    out: Path
    forms: tuple[Form, ...]
    score: str


def quantize(
    folder: Path,
    out: Path,
    rows: int = 256,
    seed: int = 0,
    reduce_range: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Quantized:
    """Write an exported network in integers, and measure it.

    Args:
        folder: made by ``rfprune export``.
        out: folder to make; new or empty.
        rows: training rows from which the ranges of activations are taken.
        seed: of the draw of these rows.
        reduce_range: weights in 7 bits, for x86 processors without VNNI, whose 16-bit sums of two
            products overflow otherwise.
        say: called with one line per stage.

    Raises:
        RunsError: `folder` is no export, or `out` is in use or cannot be written.
        DataError: the data that the network was trained on are not there.
        NetworkError: a network of several inputs or outputs.
        MissingExtraError: onnxruntime is not installed.
    """
    source = folder / "model.onnx"
    if not source.is_file():
        raise RunsError(f"{folder}: has no model.onnx. Allowed: a folder made by 'rfprune export'.")
    _quantization()
    spec = parse_spec(TrialSpec, read_json(folder / "spec.json"), str(folder / "spec.json"))
    say("loading the data")
    task = make_task(spec.task)
    home = Path(read_json(folder / "metrics.json").get("base_dir", "."))
    data = load(spec.data, home if home.is_dir() else Path(), task)
    if isinstance(data.input_shape, dict) or task.heads:
        several = "its network has several inputs or outputs. Allowed: one of each."
        raise NetworkError(f"{folder}: {several}")
    if (folder / "scaling.json").exists():
        # The file scales rows itself, or its first layer does; exports of version 0.1 do neither.
        data = data.in_raw_units()
    drawn = np.random.default_rng(seed).permutation(len(data.y_train))[:rows]
    calibration = data.x_train.index_select(0, torch.from_numpy(drawn).to(data.x_train.device))
    with new_folder(out) as scratch:
        say("finding the ranges of the activations")
        _write(source, scratch, np.asarray(calibration.cpu().numpy()), reduce_range)
        files = {
            "fp32": source,
            "int8": scratch / "model_int8.onnx",
            "int8 dynamic": scratch / "model_int8_dynamic.onnx",
        }
        say("measuring each form")
        forms = tuple(_measured(name, path, data, task) for name, path in files.items())
        found = Quantized(out, forms, task.score)
        facts = {"rows": len(drawn), "seed": seed, "reduce_range": reduce_range}
        write_json(
            scratch / "quantization.json", {**facts, "forms": [asdict(form) for form in forms]}
        )
        write_page(scratch, f"{spec.model.name} in 8-bit integers", _report(found, len(drawn)))
        (scratch / SUMS).write_text(checksums(scratch))
    return found


def _quantization() -> Any:
    try:
        onnx_runtime()
        import onnxruntime.quantization as package
    except ImportError:
        raise MissingExtraError(
            "integers need onnxruntime, which is not installed: pip install 'rfprune[int8]'."
        ) from None
    return package


def _reader(name: str, rows: Any) -> SimpleNamespace:
    """Return what hands out rows for calibration: batches by the input's name, then None."""
    batches = np.split(rows, range(_CALIBRATION_BATCH, len(rows), _CALIBRATION_BATCH))
    return SimpleNamespace(get_next=partial(next, iter([{name: b} for b in batches]), None))


def _write(source: Path, folder: Path, rows: Any, reduce_range: bool) -> None:
    import onnx

    tools = _quantization()
    name = onnx.load(str(source)).graph.input[0].name
    prepared = folder / "prepared.onnx"
    static, dynamic = folder / "model_int8.onnx", folder / "model_int8_dynamic.onnx"
    with _quiet():
        # Folds norms into convolutions, and writes the shapes that quantization looks at.
        tools.shape_inference.quant_pre_process(
            str(source), str(prepared), skip_symbolic_shape=True
        )
        # onnxruntime transposes the weights of dense layers, and trusts the shapes that it finds.
        drop_shapes_of_weights(prepared)
        tools.quantize_static(
            str(prepared),
            str(static),
            _reader(name, rows),
            quant_format=tools.QuantFormat.QDQ,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            per_channel=True,
            reduce_range=reduce_range,
        )
        # Integer convolutions know no signed weights in onnxruntime's dynamic form on x86.
        tools.quantize_dynamic(
            str(prepared), str(dynamic), weight_type=tools.QuantType.QUInt8, per_channel=False
        )
    prepared.unlink()
    for path in (static, dynamic):
        onnx.checker.check_model(str(path), full_check=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnxruntime's advice, which is about what has been done here already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Session(nn.Module):
    """An ONNX file as a network that torch's measurements can ask."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        runtime = onnx_runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: InferenceSession = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._name = self._session.get_inputs()[0].name

    def forward(self, x: Tensor) -> Tensor:
        """Return what the file computes from (B, ...) rows."""
        return torch.from_numpy(self._session.run(None, {self._name: x.cpu().numpy()})[0])


def _measured(name: str, path: Path, data: Dataset, task: Task) -> Form:
    network = _Session(path)
    validation = measure(network, data.x_val, data.y_val, task, data.w_val)
    scores = {f"val_{alias}": value for alias, value in validation.items()}
    scores |= measure(network, data.x_test, data.y_test, task, data.w_test)
    row, times = data.x_test[:1], []
    for _ in range(_TIMED):
        begun = perf_counter()
        network(row)
        times.append(perf_counter() - begun)
    ms = float(np.median(times)) * 1e3
    return Form(name, path.name, path.stat().st_size, scores, ms)


def _report(found: Quantized, rows: int) -> str:
    whole, score = found.forms[0], found.score
    header = ["form", f"test {score}", f"validation {score}", "kilobytes", "ms per row", "file"]
    table = [
        [
            form.name,
            f"{form.scores[score]:.4f}",
            f"{form.scores[f'val_{score}']:.4f}",
            amount(round(form.bytes / 1024, 1)),
            f"{form.ms:.3f}",
            form.file,
        ]
        for form in found.forms
    ]
    static = found.forms[1]
    return "\n\n".join(
        [
            grid(header, table),
            f"The ranges of the activations come from {rows} training rows. Against the float "
            f"network the static form is {static.bytes / whole.bytes:.2f} times as large, and a "
            f"row takes {static.ms / whole.ms:.2f} times as long on one thread of this machine "
            "(onnxruntime).",
        ]
    )
