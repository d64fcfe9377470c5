"""Registering an exported network as an MLflow model: only what was chosen, never every trial."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rfprune.core.files import read_json
from rfprune.errors import InputError
from rfprune.results import StepRecord
from rfprune.tracking.client import connect, experiment_id, faults_as_sentences
from rfprune.tracking.config import TrackingConfig

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from torch import nn

__all__ = ["check_model_name", "register_model"]

Array = NDArray[np.float32]
#: Small files of an export that travel with the model; the HLS project stays where it is.
_COMPANIONS = (
    "spec.json",
    "metrics.json",
    "estimate.json",
    "parity.json",
    "scaling.json",
    "report.md",
    "report.html",
    "front.png",
    "model.onnx",
)
#: `torch.export` treats the number of rows as a constant if the example has only one.
_EXAMPLE_ROWS = 4
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_. -]*$")


def check_model_name(name: str) -> None:
    """Raise if MLflow does not accept the name for a registered model.

    Raises:
        InputError: says what is allowed.
    """
    if not _NAME.match(name):
        raise InputError(
            f"--register {name}: not a name that MLflow accepts. Allowed: letters, digits, '_', "
            "'-', '.' and spaces, beginning with a letter or digit."
        )


def register_model(
    export: Path, name: str, config: TrackingConfig, *, run_code: bool = False
) -> int:
    """Register an exported network as the next version of the MLflow model `name`.

    The model is stored as a traced graph (``torch.export``), so that it can be loaded and served
    without rfprune and without running pickled code. A network of several inputs or outputs is
    stored as its ONNX file instead, which takes and returns arrays by name: MLflow's flavour of
    torch knows one tensor alone. The version gets the alias of ``config.registry.alias``.

    Args:
        export: a folder made by ``rfprune export``.
        name: of the registered model; created if it does not exist.
        config: where to.
        run_code: as in `rfprune.load`.

    Returns:
        The version number.

    Raises:
        InputError: MLflow does not allow the name.
        RunsError: the folder holds no exported network.
        WorkError: MLflow cannot be reached or refuses.
    """
    from rfprune.exporting import load

    check_model_name(name)

    model = load(export, run_code=run_code)
    facts = read_json(export / "metrics.json")
    example = _example(export, facts)
    outputs = _answers(model, example)
    with faults_as_sentences(config), tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        client = connect(config)
        if isinstance(example, dict) or isinstance(outputs, dict):
            _save_by_name(export / "model.onnx", example, Path(scratch) / "model")
        else:
            _save(model, example, outputs, Path(scratch) / "model")
        for file in _COMPANIONS:
            if (export / file).exists():
                shutil.copyfile(export / file, Path(scratch) / file)
        run_id = _log_run(client, config, facts, scratch)
        return _add_version(client, config, name, run_id, facts)


def _example(export: Path, facts: dict[str, Any]) -> Array | dict[str, Array]:
    """Return some rows of input, (N, *shape), by name if there are several.

    They are those of the test vectors, or zeros without them.
    """
    shape, vectors = facts["input_shape"], export / "test_vectors.npz"
    shapes = shape if isinstance(shape, dict) else {"": shape}
    found = {
        name: np.zeros((_EXAMPLE_ROWS, *own), dtype=np.float32) for name, own in shapes.items()
    }
    if vectors.exists():
        with np.load(vectors) as arrays:
            for name in found:
                rows = arrays[f"x_{name}" if name else "x"][:_EXAMPLE_ROWS].astype(np.float32)
                if len(rows) == _EXAMPLE_ROWS:
                    found[name] = np.ascontiguousarray(rows)
    return found if isinstance(shape, dict) else found[""]


def _answers(model: nn.Module, example: Array | dict[str, Array]) -> Array | dict[str, Array]:
    """Return what a network puts out, by name if it is more than one tensor."""
    import torch

    with torch.no_grad():
        if isinstance(example, dict):
            output = model(**{name: torch.from_numpy(rows) for name, rows in example.items()})
        else:
            output = model(torch.from_numpy(example))
    if isinstance(output, torch.Tensor):
        return output.numpy()
    items = output.items() if isinstance(output, dict) else enumerate(output)
    return {str(name): part.numpy() for name, part in items}


def _save(model: nn.Module, example: Array, outputs: Array, path: Path) -> None:
    """Write a network of one input and one output as MLflow's flavour of torch."""
    with _only_what_we_say():
        import mlflow.pytorch
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        # -1: any number of rows.
        kind = np.dtype("float32")
        schemas = (Schema([TensorSpec(kind, (-1, *rows.shape[1:]))]) for rows in (example, outputs))
        mlflow.pytorch.save_model(
            model,
            str(path),
            signature=ModelSignature(*schemas),
            input_example=example,
            serialization_format="pt2",
            pip_requirements=_needed("torch", "numpy"),
        )


def _save_by_name(network: Path, example: Array | dict[str, Array], path: Path) -> None:
    """Write an ONNX file, whose inputs and outputs have names, as MLflow's flavour of ONNX."""
    import onnx

    with _only_what_we_say():
        import mlflow.onnx
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        model = onnx.load(str(network))

        def schema(values: Any) -> Schema:
            specs = []
            for value in values:
                # The first axis is that of the rows, of which there may be any number.
                _, *sizes = (axis.dim_value for axis in value.type.tensor_type.shape.dim)
                kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
                specs.append(TensorSpec(kind, (-1, *sizes), value.name))
            return Schema(specs)

        only_one = model.graph.input[0].name
        mlflow.onnx.save_model(
            model,
            str(path),
            signature=ModelSignature(schema(model.graph.input), schema(model.graph.output)),
            input_example=example if isinstance(example, dict) else {only_one: example},
            # The file is the network: onnxruntime need not be here to hand it on.
            pip_requirements=[*_needed("onnx", "numpy"), "onnxruntime"],
            save_as_external_data=False,
        )


def _needed(*packages: str) -> list[str]:
    # A local build such as 2.13.0+cpu is on no package index.
    return [f"{name}=={version(name).partition('+')[0]}" for name in packages]


@contextmanager
def _only_what_we_say() -> Iterator[None]:
    """Silence what MLflow and torch.export say about their own code, which no user can change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _labels(facts: dict[str, Any]) -> dict[str, str]:
    return {"trial": str(facts.get("trial")), "step": str(facts.get("step"))}


def _log_run(
    client: MlflowClient, config: TrackingConfig, facts: dict[str, Any], folder: str
) -> str:
    """Create the run that holds the model's files; return its id."""
    from mlflow.entities import Metric

    tags = {**config.tags, **_labels(facts), "kind": "export", "why": str(facts.get("why", ""))}
    name = f"export-trial-{facts.get('trial', 0):04d}-step-{facts.get('step')}"
    run = client.create_run(experiment_id(client, config), tags=tags, run_name=name)
    run_id = str(run.info.run_id)
    record = StepRecord.model_validate(
        {"accepted": True, **{k: v for k, v in facts.items() if k != "trial"}}
    )
    # Only what the file holds: a record fills in 0 s where the time of a step is not known.
    metrics = [
        Metric(name, float(value), run.info.start_time, 0)
        for name, value in record.metrics().items()
        if value is not None and name in facts
    ]
    client.log_batch(run_id, metrics)
    client.log_artifacts(run_id, folder)
    client.set_terminated(run_id)
    return run_id


def _add_version(
    client: MlflowClient, config: TrackingConfig, name: str, run_id: str, facts: dict[str, Any]
) -> int:
    # Asked first, because creating a model that exists is an error.
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    why = str(facts.get("why", "")) or None
    # The files are there already: there is nothing to wait for.
    added = client.create_model_version(
        name, source, run_id, tags=_labels(facts), description=why, await_creation_for=0
    )
    client.set_registered_model_alias(name, config.registry.alias, added.version)
    return int(added.version)
