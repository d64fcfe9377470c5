"""Dense networks, trained once per distinct setting even if several trials want one at once."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfprune.core.digests import digest_of_file
from rfprune.core.files import link_or_copy, read_json, write_json
from rfprune.core.locks import locked
from rfprune.core.own_code import own_functions
from rfprune.data import PARTS, Dataset
from rfprune.errors import NetworkError, RunsError
from rfprune.models import architecture, build, load_checkpoint, save_checkpoint
from rfprune.spec import TrialSpec
from rfprune.tasks import Task
from rfprune.training import (
    Fit,
    Validation,
    measure,
    seed_everything,
    select_device,
    trainer_of,
)
from rfprune.trial.provenance import version_of

__all__ = ["Dense", "dense_network", "new_model", "to_device"]


@dataclass(frozen=True)
class Dense:
    """A trained dense network.

    Attributes:
        model: on the device that the trial trains on.
        metrics: of the task, in float arithmetic: ``val_...`` on validation rows, the others on
            test rows.
        seconds: of its training; 0 if it was taken from the cache.
        cached: whether an earlier trial had trained it.
    """

    model: nn.Module
    metrics: dict[str, float]
    seconds: float
    cached: bool


def dense_network(
    spec: TrialSpec, data: Dataset, task: Task, folder: Path, base_dir: Path
) -> Dense:
    """Return the dense network of a trial, training it if no trial with equal settings has.

    Args:
        spec: model, training and seed.
        data: on the device of the training.
        task: what it is trained for.
        folder: the cache; one folder per ``spec.dense_key`` and content of the data.
        base_dir: folder that relative paths in the spec refer to.
    """
    # The spec only names data and weights; their hashes show if a file of that name has changed.
    facts = [spec.dense_key, data.sha256[:8]]
    origin = architecture(spec.model, base_dir)
    if origin.weights is not None:
        facts.append(digest_of_file(Path(origin.weights))[:8])
    place = folder / "-".join(facts)
    place.mkdir(parents=True, exist_ok=True)
    # Trials with equal settings start together on several workers: one trains, the others wait.
    with locked(place / "lock"):
        cached = _load(spec, place, data, task, base_dir)
        if cached is None and _borrow(spec, place):
            cached = _load(spec, place, data, task, base_dir)
        return cached if cached is not None else _train(spec, place, data, task, base_dir)


def _borrow(spec: TrialSpec, place: Path) -> bool:
    """Take the same dense network from a sweep beside this one; return whether there was one.

    Its folder's name is made of everything that decides it: settings, seed, content of data and
    weights. The code of functions of the user's own is not in it, and may have changed since. The
    versions have to be the same, so that a sweep alone and one beside others end the same.
    """
    home = place.parent.parent
    if not (home / "sweep.json").is_file() or any(own_functions(spec.canonical())):
        return False
    for path in sorted(home.parent.glob(f"*/{place.parent.name}/{place.name}/dense.json")):
        network = path.with_name("dense.pt")
        of_a_sweep = (path.parents[2] / "sweep.json").is_file()
        if path.parent == place or not of_a_sweep or not network.is_file():
            continue
        with contextlib.suppress(RunsError, AttributeError):
            if read_json(path).get("versions") == _versions():
                link_or_copy(network, place / "dense.pt")
                link_or_copy(path, place / "dense.json")
                return True
    return False


def _versions() -> dict[str, str]:
    """Return the versions that a training rests on."""
    return {name: version_of(name) or "source" for name in ("rfprune", "torch")}


def new_model(spec: TrialSpec, data: Dataset, base_dir: Path) -> nn.Module:
    """Return the untrained network of a trial; equal seeds give equal weights."""
    seed_everything(spec.seed)
    return build(spec.model, data.input_shape, data.n_outputs, base_dir)


def _metrics(model: nn.Module, data: Dataset, task: Task) -> dict[str, float]:
    validation = measure(model, data.x_val, data.y_val, task, data.w_val)
    tested = measure(model, data.x_test, data.y_test, task, data.w_test)
    return {**{f"val_{alias}": value for alias, value in validation.items()}, **tested}


def _train(spec: TrialSpec, place: Path, data: Dataset, task: Task, base_dir: Path) -> Dense:
    begun = time.monotonic()
    # Built on the CPU, where equal seeds give equal weights whatever the device.
    model = new_model(spec, data, base_dir).to(select_device(spec.train.device))
    how = Fit(
        spec.train.epochs,
        spec.train.learning_rate,
        spec.train,
        spec.seed,
        task=task,
        weight=data.w_train,
        validation=Validation(data.x_val, data.y_val, data.w_val),
    )
    if spec.train.epochs:
        trainer_of(spec.train, base_dir)(model, data, how)
    seconds = time.monotonic() - begun
    # Before a metric of the user's, which may fail, can cost the training.
    _save(place, spec, model, data, base_dir, {"seconds": seconds})
    dense = Dense(model.eval(), _metrics(model, data, task), seconds, cached=False)
    facts = {"metrics": dense.metrics, "seconds": seconds}
    _save(place, spec, model, data, base_dir, facts)
    write_json(
        place / "dense.json",
        {**dense.metrics, "seconds": dense.seconds, "versions": _versions()},
    )
    return dense


def _save(
    place: Path,
    spec: TrialSpec,
    model: nn.Module,
    data: Dataset,
    base_dir: Path,
    facts: dict[str, Any],
) -> None:
    origin = architecture(spec.model, base_dir)
    path = place / "dense.pt"
    save_checkpoint(path, model, origin, data.input_shape, data.n_outputs, facts)


def _load(spec: TrialSpec, place: Path, data: Dataset, task: Task, base_dir: Path) -> Dense | None:
    path = place / "dense.pt"
    if not path.exists():
        return None
    try:
        saved = load_checkpoint(path)
        model = new_model(spec, data, base_dir)
        model.load_state_dict(saved.state_dict)
    except (NetworkError, RuntimeError):
        # A damaged cache is made again; the file is kept for whoever looks for the cause.
        path.rename(path.with_suffix(".unreadable"))
        return None
    model.to(select_device(spec.train.device)).eval()
    # Files of version 0.1 hold two accuracies in place of the metrics.
    known = saved.extra.get("metrics", saved.extra)
    names = [f"{prefix}{alias}" for alias in task.metrics for prefix in ("val_", "")]
    found = {name: known[name] for name in names if name in known}
    # Other metrics of the same network may have been asked for since.
    metrics = found if len(found) == len(names) else _metrics(model, data, task)
    return Dense(model, metrics, 0.0, cached=True)


#: The data set of the last trial of this process and its copy on a device.
_moved: tuple[Dataset, Dataset] | None = None


def to_device(data: Dataset, device: torch.device) -> Dataset:
    """Return the data set with its tensors on `device`, which must not be changed in place."""
    global _moved
    if device.type == "cpu":
        return data
    if _moved is not None and _moved[0] is data and _moved[1].x_train.device.type == device.type:
        return _moved[1]
    _moved = None  # let the old rows go before the new ones come
    names = [f"{letter}_{part}" for letter in "xyw" for part in PARTS]
    # Weights of rows may be absent.
    there = {name: getattr(data, name) for name in names if getattr(data, name) is not None}
    moved = replace(data, **{name: rows.to(device) for name, rows in there.items()})
    _moved = data, moved
    return moved
