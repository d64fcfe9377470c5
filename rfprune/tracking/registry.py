"""Registering an exported network as an MLflow model: only what was chosen, never every trial."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rfprune.errors import InputError, RunsError
from rfprune.quantities import DIRECTIONS
from rfprune.tracking.client import connect, experiment_id, faults_as_sentences
from rfprune.tracking.config import TrackingConfig

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient
    from torch import nn

__all__ = ["check_model_name", "register_model"]

#: Small files of an export that travel with the model; the HLS project stays where it is.
_COMPANIONS = (
    "spec.json",
    "metrics.json",
    "estimate.json",
    "parity.json",
    "report.md",
    "report.html",
    "front.png",
    "model.onnx",
)
#: `torch.export` takes the number of rows for a constant if the example has only one.
_EXAMPLE_ROWS = 4
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_. -]*$")


def check_model_name(name: str) -> None:
    """Raise if MLflow takes no registered model of this name.

    Raises:
        InputError: says what is allowed.
    """
    if not _NAME.match(name):
        raise InputError(
            f"--register {name}: no name that MLflow takes. Allowed: letters, digits, '_', '-', "
            "'.' and spaces, beginning with a letter or digit."
        )


def register_model(
    export: Path, name: str, config: TrackingConfig, *, run_code: bool = False
) -> int:
    """Register an exported network as the next version of the MLflow model `name`.

    The model is stored as a traced graph (``torch.export``), so that it can be loaded and served
    without rfprune and without running pickled code. The version gets the alias of
    ``config.registry.alias``.

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
    from rfprune.export import load

    check_model_name(name)

    model = load(export, run_code=run_code)
    facts = _facts(export)
    example = _example(export, facts)
    with faults_as_sentences(config), tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        client = connect(config)
        _save(model, example, Path(scratch) / "model")
        for file in _COMPANIONS:
            if (export / file).exists():
                shutil.copyfile(export / file, Path(scratch) / file)
        run_id = _log_run(client, config, facts, scratch)
        return _add_version(client, config, name, run_id, facts)


def _facts(export: Path) -> dict[str, Any]:
    path = export / "metrics.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunsError(f"{path}: cannot be read ({error}).") from error
    return facts


def _example(export: Path, facts: dict[str, Any]) -> NDArray[np.float32]:
    """Return some rows of input, (N, *shape): of the test vectors, or zeros without them."""
    vectors = export / "test_vectors.npz"
    if vectors.exists():
        with np.load(vectors) as arrays:
            rows = arrays["x"][:_EXAMPLE_ROWS].astype(np.float32)
        if len(rows) == _EXAMPLE_ROWS:
            return np.ascontiguousarray(rows)
    return np.zeros((_EXAMPLE_ROWS, *facts["input_shape"]), dtype=np.float32)


def _save(model: nn.Module, example: NDArray[np.float32], path: Path) -> None:
    # A local build such as 2.13.0+cpu is on no package index.
    needed = [f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "numpy")]
    with warnings.catch_warnings():
        # MLflow and torch.export warn about their own code, which no user of ours can change.
        warnings.simplefilter("ignore")
        import mlflow.pytorch

        mlflow.pytorch.save_model(
            model,
            str(path),
            signature=_signature(model, example),
            input_example=example,
            serialization_format="pt2",
            pip_requirements=needed,
        )


def _signature(model: nn.Module, example: NDArray[np.float32]) -> ModelSignature:
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    with torch.no_grad():
        logits = model(torch.from_numpy(example))
    kind = np.dtype("float32")
    inputs = Schema([TensorSpec(kind, (-1, *example.shape[1:]))])
    return ModelSignature(inputs, Schema([TensorSpec(kind, (-1, *logits.shape[1:]))]))


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
    known = {q: facts[q] for q in DIRECTIONS if facts.get(q) is not None}
    metrics = [Metric(q, float(value), run.info.start_time, 0) for q, value in known.items()]
    client.log_batch(run_id, metrics)
    client.log_artifacts(run_id, folder)
    client.set_terminated(run_id)
    return run_id


def _add_version(
    client: MlflowClient, config: TrackingConfig, name: str, run_id: str, facts: dict[str, Any]
) -> int:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    why = str(facts.get("why", "")) or None
    added = client.create_model_version(
        name, source, run_id, tags=_labels(facts), description=why, await_creation_for=0
    )
    client.set_registered_model_alias(name, config.registry.alias, added.version)
    return int(added.version)
