"""What a point of the space costs before pruning, known from shapes alone: nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from rfprune.core.registry import importable
from rfprune.data import Dataset, load
from rfprune.errors import InputError
from rfprune.methods import find_method
from rfprune.spec import SweepSpec
from rfprune.study.parameters import Scalar
from rfprune.study.space import Space
from rfprune.tasks import make_task
from rfprune.trial import target_of
from rfprune.trial.dense import new_model

__all__ = ["Costs", "KnownCosts"]

#: Sections of a trial file that the costs of a dense network do not depend on.
_COSTLESS = ("prune", "train", "task", "seed", "repeats")
#: CPU seconds that the first point may take, imports and all; a search asks for hundreds.
_SLOW = 5.0


class Costs(Protocol):
    """Whoever knows what the dense network of a point costs."""

    def key(self, values: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
        """Return what decides the costs of a point; points with the same key cost the same."""
        ...

    def of(self, values: Mapping[str, Scalar]) -> Mapping[str, float | None]:
        """Return the dense network's costs at a point by quantity; empty where nobody knows."""
        ...


class KnownCosts:
    """Costs of dense networks as ``rfprune check`` estimates them.

    Args:
        spec: the sweep.
        space: `spec` expanded.
        base_dir: folder that relative paths in it refer to.
    """

    def __init__(self, spec: SweepSpec, space: Space, base_dir: Path) -> None:
        self._spec = spec
        self._space = space
        self._base_dir = base_dir
        self._data: Dataset | None = None
        self._slow: bool | None = None

    def key(self, values: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
        """Return the values that the costs depend on."""
        deciding = {p: v for p, v in values.items() if p.partition(".")[0] not in _COSTLESS}
        return tuple(sorted(deciding.items()))

    def of(self, values: Mapping[str, Scalar]) -> Mapping[str, float | None]:
        """Return the costs; empty for a point that the target refuses, and if the first was slow.

        Only the first one is timed: who proposes points must not change in the middle of a sweep.
        """
        if self._slow:
            return {}
        if self._data is None:
            task = make_task(self._spec.task, self._base_dir)
            self._data = load(self._spec.data, self._base_dir, task)
        began = time.process_time()
        try:
            spec = self._space.resolve(self._spec, values)
            model = new_model(spec, self._data, self._base_dir)
            with importable(self._base_dir):
                method = find_method(spec.prune.method)
            shape = self._data.input_shape
            deployment = target_of(spec).deploy(spec, method, model, shape, self._base_dir)
            return deployment.dense_quantities(model)
        except InputError:
            # Whoever runs the trial says why.
            return {}
        finally:
            if self._slow is None:
                self._slow = time.process_time() - began > _SLOW
