"""NSGA-II and NSGA-III as in Optuna, with a cost per trial that does not grow with the study.

Optuna goes through all trials at every draw, once for the newest generation and once for its
parents. Here generations are counted as trials complete, and the parents are remembered. The points
drawn are the same, trial by trial.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna import Study
from optuna.samplers import BaseGASampler, NSGAIIISampler, NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

from rfprune.study.optuna_private import OwnedStudy

__all__ = ["NSGA2", "NSGA3"]

#: System attribute of a trial.
_GENERATION = "rfprune:generation"


class _Counted(BaseGASampler):
    """Knows the newest generation without a look at the trials.

    It overrides only what Optuna means to be overridden. As in Optuna, the study keeps the
    generation of a trial and the parents of a generation, so the next driver can continue.
    """

    _newest: int | None = None
    _members: int = 0
    _parents: tuple[int, list[FrozenTrial]] = (0, [])

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """Return the generation of a trial; a new one goes into the newest that is not full."""
        known = trial.system_attrs.get(_GENERATION)
        if known is not None:
            return int(known)
        if self._newest is None:
            # The only look at all trials: what a continued study holds already.
            self._newest = 0
            for ended in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                self._count(ended)
        assert self.population_size is not None
        generation = self._newest + (self._members >= self.population_size)
        assert isinstance(study, OwnedStudy)
        study.write_trial_system_attr(trial.number, _GENERATION, generation)
        return generation

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the complete trials of a generation."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [t for t in complete if t.system_attrs.get(_GENERATION) == generation]

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the trials that the trials of a generation descend from."""
        if self._parents[0] == generation:
            return self._parents[1]
        found = super().get_parent_population(study, generation)
        # Optuna too returns them by rank the first time, and by number from then on.
        self._parents = generation, sorted(found, key=lambda trial: trial.number)
        return found

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Count a trial that completes."""
        super().after_trial(study, trial, state, values)
        if state == TrialState.COMPLETE and self._newest is not None:
            self._count(trial)

    def _count(self, trial: FrozenTrial) -> None:
        generation = trial.system_attrs.get(_GENERATION, -1)
        assert self._newest is not None
        if generation > self._newest:
            self._newest, self._members = generation, 1
        elif generation == self._newest:
            self._members += 1


class NSGA2(_Counted, NSGAIISampler):
    """Optuna's `NSGAIISampler` for a study that its driver owns."""


class NSGA3(_Counted, NSGAIIISampler):
    """Optuna's `NSGAIIISampler` for a study that its driver owns."""
