"""The study's storage as its one driver sees it: what is known stays known.

Optuna asks its storage for all trials several times per trial, and a storage that others may write
has to look at each of them. Here the driver holds the sweep's lock, so a trial changes only when it
changes it. `OwnedStudy` also gives public access to that storage. Reports read without any of this.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

__all__ = ["OwnedStorage", "OwnedStudy"]


class OwnedStorage(BaseStorage):
    """Passes everything on to another storage and keeps the trials at hand, sorted by state.

    Args:
        backend: written by nobody else as long as this object lives.
    """

    def __init__(self, backend: BaseStorage) -> None:
        self._backend = backend
        self._studies: dict[int, _Trials] = {}
        self._study_of: dict[int, _Trials] = {}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial; not to be changed."""
        trials = self._study_of.get(trial_id)
        return self._backend.get_trial(trial_id) if trials is None else trials.one(trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials of a study by number, all or those in some states."""
        found = self._trials(study_id).all(states)
        return copy.deepcopy(found) if deepcopy else found

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the id of a trial."""
        return self._trials(study_id).id_of(trial_number)

    def _trials(self, study_id: int) -> _Trials:
        if study_id not in self._studies:
            self._studies[study_id] = trials = _Trials(self._backend)
            for trial_id in trials.load(study_id):
                self._study_of[trial_id] = trials
        return self._studies[study_id]

    def _changed(self, trial_id: int) -> None:
        if (trials := self._study_of.get(trial_id)) is not None:
            trials.changed(trial_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial and return its id."""
        trials = self._trials(study_id)
        trial_id = self._backend.create_new_trial(study_id, template_trial)
        trials.add(trial_id)
        self._study_of[trial_id] = trials
        return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter of a trial."""
        self._backend.set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self._changed(trial_id)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set a trial's state and values."""
        done = self._backend.set_trial_state_values(trial_id, state, values)
        self._changed(trial_id)
        return done

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set the value of a trial's step."""
        self._backend.set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._changed(trial_id)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute of a trial."""
        self._backend.set_trial_user_attr(trial_id, key, value)
        self._changed(trial_id)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a trial."""
        self._backend.set_trial_system_attr(trial_id, key, value)
        self._changed(trial_id)

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Create a study and return its id."""
        return self._backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Delete a study."""
        self._backend.delete_study(study_id)
        self._studies.pop(study_id, None)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a user attribute of a study."""
        self._backend.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a study."""
        self._backend.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study."""
        return self._backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the directions of a study."""
        return self._backend.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the user attributes of a study."""
        return self._backend.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the system attributes of a study."""
        return self._backend.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[Any]:
        """Return all studies."""
        return self._backend.get_all_studies()

    def remove_session(self) -> None:
        """Close connections that this thread holds."""
        self._backend.remove_session()


class _Trials:
    """The trials of one study by number and by state; what was written is read again when asked."""

    def __init__(self, backend: BaseStorage) -> None:
        self._backend = backend
        self._ids: list[int] = []
        self._numbers: dict[int, int] = {}
        self._trials: list[FrozenTrial] = []
        self._in_state: dict[TrialState, set[int]] = {state: set() for state in TrialState}
        self._stale: set[int] = set()

    def load(self, study_id: int) -> list[int]:
        """Read the whole study; return the ids of its trials."""
        for trial in self._backend.get_all_trials(study_id, deepcopy=False):
            trial_id = self._backend.get_trial_id_from_study_id_trial_number(study_id, trial.number)
            self._append(trial_id, trial)
        return list(self._ids)

    def add(self, trial_id: int) -> None:
        """Take in a trial that was just created, the one with the highest number."""
        self._append(trial_id, self._backend.get_trial(trial_id))

    def _append(self, trial_id: int, trial: FrozenTrial) -> None:
        self._ids.append(trial_id)
        self._numbers[trial_id] = trial.number
        self._trials.append(trial)
        self._in_state[trial.state].add(trial.number)

    def changed(self, trial_id: int) -> None:
        """Take note that a trial was written."""
        self._stale.add(self._numbers[trial_id])

    def id_of(self, number: int) -> int:
        """Return the id of a trial; KeyError, as Optuna's storages raise it, if there is none."""
        if not 0 <= number < len(self._ids):
            raise KeyError(f"no trial {number}")
        return self._ids[number]

    def one(self, trial_id: int) -> FrozenTrial:
        """Return a trial as it is now."""
        number = self._numbers[trial_id]
        if number in self._stale:
            self._read_again(number)
        return self._trials[number]

    def all(self, states: Container[TrialState] | None) -> list[FrozenTrial]:
        """Return trials by number, all or those in some states."""
        for number in list(self._stale):
            self._read_again(number)
        if states is None:
            return list(self._trials)
        numbers = (self._in_state[state] for state in TrialState if state in states)
        return [self._trials[number] for number in sorted(set().union(*numbers))]

    def _read_again(self, number: int) -> None:
        fresh = self._backend.get_trial(self._ids[number])
        self._in_state[self._trials[number].state].discard(number)
        self._in_state[fresh.state].add(number)
        self._trials[number] = fresh
        self._stale.discard(number)


class OwnedStudy(Study):
    """A study whose driver may also write to trials that an earlier driver began."""

    def __init__(self, study_name: str, storage: OwnedStorage) -> None:
        super().__init__(study_name=study_name, storage=storage)
        self._owned = storage

    def write_trial_attr(self, number: int, key: str, value: Any) -> None:
        """Set a user attribute of trial `number`, which must not have ended."""
        self._owned.set_trial_user_attr(self._id_of(number), key, value)

    def write_trial_system_attr(self, number: int, key: str, value: Any) -> None:
        """Set a system attribute of trial `number`, as samplers do."""
        self._owned.set_trial_system_attr(self._id_of(number), key, value)

    def _id_of(self, number: int) -> int:
        study_id = self._owned.get_study_id_from_name(self.study_name)
        return self._owned.get_trial_id_from_study_id_trial_number(study_id, number)
