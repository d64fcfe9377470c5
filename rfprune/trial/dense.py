"""Dense networks, trained once per distinct setting, also when several trials want one at once."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from rfprune.data import Dataset
from rfprune.errors import NetworkError
from rfprune.models import architecture, build, load_checkpoint, save_checkpoint
from rfprune.runs.files import write_json
from rfprune.spec import TrialSpec
from rfprune.training import Fit, evaluate, fit, seed_everything, select_device

__all__ = ["Dense", "dense_network", "new_model", "to_device"]


@dataclass(frozen=True)
class Dense:
    """A trained dense network.

    Attributes:
        model: on the device that the trial trains on.
        val_accuracy: on the validation rows, float arithmetic.
        accuracy: on the test rows.
        seconds: of its training; 0 if it was taken from the cache.
        cached: whether an earlier trial had trained it.
    """

    model: nn.Module
    val_accuracy: float
    accuracy: float
    seconds: float
    cached: bool


def dense_network(spec: TrialSpec, data: Dataset, folder: Path, base_dir: Path) -> Dense:
    """Return the dense network of a trial, training it if no trial with equal settings has.

    Args:
        spec: model, training and seed.
        data: on the device of the training.
        folder: the cache; one folder per ``spec.dense_key`` and content of the data.
        base_dir: folder that relative paths in the spec refer to.
    """
    # The spec names the data, their hash tells them apart if a file of that name has changed.
    place = folder / f"{spec.dense_key}-{data.sha256[:8]}"
    place.mkdir(parents=True, exist_ok=True)
    with _locked(place / "lock"):
        cached = _load(spec, place, data, base_dir)
        return cached if cached is not None else _train(spec, place, data, base_dir)


def new_model(spec: TrialSpec, data: Dataset, base_dir: Path) -> nn.Module:
    """Return the untrained network of a trial; equal seeds give equal weights."""
    seed_everything(spec.seed)
    return build(spec.model, data.input_shape, data.n_classes, base_dir)


def _train(spec: TrialSpec, place: Path, data: Dataset, base_dir: Path) -> Dense:
    begun = time.monotonic()
    model = new_model(spec, data, base_dir).to(select_device(spec.train.device))
    how = Fit(spec.train.epochs, spec.train.learning_rate, spec.train, spec.seed)
    fit(model, data.x_train, data.y_train, how)
    dense = Dense(
        model,
        evaluate(model, data.x_val, data.y_val),
        evaluate(model, data.x_test, data.y_test),
        time.monotonic() - begun,
        cached=False,
    )
    save_checkpoint(
        place / "dense.pt",
        model,
        architecture(spec.model, base_dir),
        data.input_shape,
        data.n_classes,
        {"val_accuracy": dense.val_accuracy, "accuracy": dense.accuracy, "seconds": dense.seconds},
    )
    write_json(place / "dense.json", {"val_accuracy": dense.val_accuracy, "seconds": dense.seconds})
    return dense


def _load(spec: TrialSpec, place: Path, data: Dataset, base_dir: Path) -> Dense | None:
    path = place / "dense.pt"
    if not path.exists():
        return None
    try:
        saved = load_checkpoint(path)
        model = new_model(spec, data, base_dir)
        model.load_state_dict(saved.state_dict)
    except (NetworkError, RuntimeError):
        # A cache that cannot be read is made again; the file stays for whoever looks for the cause.
        path.rename(path.with_suffix(".unreadable"))
        return None
    model.to(select_device(spec.train.device)).eval()
    extra = saved.extra
    return Dense(model, extra["val_accuracy"], extra["accuracy"], 0.0, cached=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock; the system frees it when the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def to_device(data: Dataset, device: torch.device) -> Dataset:
    """Return the data set with its tensors on `device`."""
    if device.type == "cpu":
        return data
    names = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test")
    return replace(data, **{name: getattr(data, name).to(device) for name in names})
