"""The study's storage as its one driver sees it: what is known stays known.

Optuna asks its storage for all trials several times per trial, and a storage that others may write
has to look at each of them. Here the driver holds the sweep's lock, so a trial changes only when it
changes it. Reports read without any of this.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from rfprune.study.journal import StudyJournal
from rfprune.study.outages import Patience
from rfprune.study.ownership import Lease

__all__ = ["OwnedStorage"]

T = TypeVar("T")


def _nothing() -> None:
    pass


class OwnedStorage(BaseStorage):
    """Passes everything on to another storage and keeps the trials at hand, sorted by state.

    Args:
        backend: written by nobody else as long as this object lives.
        patience: waits for a backend that does not answer.
        lease: on a backend that other drivers can reach.
    """

    def __init__(
        self,
        backend: BaseStorage,
        patience: Patience | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._backend = backend
        self._patience = patience or Patience("the study")
        self._lease = lease
        #: A context in which what is written goes to the disk in one piece, where that is possible.
        self.together: Callable[[], AbstractContextManager[None]] = (
            backend.journal.together if isinstance(backend, StudyJournal) else nullcontext
        )
        #: Waits until what was written is on the disk, where a storage does not do so by itself.
        self.settle: Callable[[], None] = (
            backend.journal.settle if isinstance(backend, StudyJournal) else _nothing
        )
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
            self._studies[study_id] = trials = _Trials(self._backend, self._patience)
            # Read once: from here on every change passes through this object.
            for trial_id in trials.load(study_id):
                self._study_of[trial_id] = trials
        return self._studies[study_id]

    def close(self) -> None:
        """Settle, and let go of the lease; call it when the driver ends."""
        self.settle()
        if self._lease is not None:
            self._lease.release()

    def hurry(self) -> None:
        """Wait no longer for a storage that does not answer: the driver has been asked to stop."""
        self._patience.hurry()

    def _changed(self, trial_id: int) -> None:
        if (trials := self._study_of.get(trial_id)) is not None:
            trials.changed(trial_id)

    def _ask(self, read: Callable[[], T]) -> T:
        return self._patience.call(read)

    def _write(self, work: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """Write while the study is this driver's; `again` as in `Patience.call`."""

        # Asked before every attempt: while the storage was away, another driver may have come.
        def held(call: Callable[[], T]) -> Callable[[], T]:
            def attempt() -> T:
                if self._lease is not None:
                    self._lease.hold()
                return call()

            return attempt

        return self._patience.call(held(work), None if again is None else held(again))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial and return its id."""
        trials = self._trials(study_id)

        def create() -> int:
            return self._backend.create_new_trial(study_id, template_trial)

        def found_or_created() -> int:
            # The first call may have made it although no answer came: nobody else makes any.
            if self._backend.get_n_trials(study_id) == len(trials):
                return create()
            return self._backend.get_trial_id_from_study_id_trial_number(study_id, len(trials))

        trial_id = self._write(create, found_or_created)
        # Only what the backend has confirmed is taken in.
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
        self._write(
            lambda: self._backend.set_trial_param(
                trial_id, param_name, param_value_internal, distribution
            )
        )
        self._changed(trial_id)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set a trial's state and values."""

        def tell() -> bool:
            return self._backend.set_trial_state_values(trial_id, state, values)

        def told_or_tell() -> bool:
            # Another try would be refused where the first one was carried out after all.
            return self._backend.get_trial(trial_id).state == state or tell()

        done = self._write(tell, told_or_tell)
        self._changed(trial_id)
        return done

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set the value of a trial's step."""
        self._write(
            lambda: self._backend.set_trial_intermediate_value(trial_id, step, intermediate_value)
        )
        self._changed(trial_id)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute of a trial."""
        self._write(lambda: self._backend.set_trial_user_attr(trial_id, key, value))
        self._changed(trial_id)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a trial."""
        self._write(lambda: self._backend.set_trial_system_attr(trial_id, key, value))
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
        self._write(lambda: self._backend.set_study_user_attr(study_id, key, value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a study."""
        self._write(lambda: self._backend.set_study_system_attr(study_id, key, value))

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study."""
        return self._ask(lambda: self._backend.get_study_id_from_name(study_name))

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        return self._ask(lambda: self._backend.get_study_name_from_id(study_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the directions of a study."""
        return self._ask(lambda: self._backend.get_study_directions(study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the user attributes of a study."""
        return self._ask(lambda: self._backend.get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the system attributes of a study."""
        return self._ask(lambda: self._backend.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[Any]:
        """Return all studies."""
        return self._ask(lambda: self._backend.get_all_studies())

    def remove_session(self) -> None:
        """Close connections that this thread holds."""
        self._backend.remove_session()


class _Trials:
    """The trials of one study by number and by state; what was written is read again when asked."""

    def __init__(self, backend: BaseStorage, patience: Patience) -> None:
        self._backend = backend
        self._patience = patience
        self._ids: list[int] = []
        self._numbers: dict[int, int] = {}
        self._trials: list[FrozenTrial] = []
        self._in_state: dict[TrialState, set[int]] = {state: set() for state in TrialState}
        self._stale: set[int] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def load(self, study_id: int) -> list[int]:
        """Read the whole study; return the ids of its trials."""
        by_number = self._backend.get_trial_id_from_study_id_trial_number
        for trial in self._backend.get_all_trials(study_id, deepcopy=False):
            self._append(by_number(study_id, trial.number), trial)
        return list(self._ids)

    def add(self, trial_id: int) -> None:
        """Take in a trial that was just created, the one with the highest number."""
        self._append(trial_id, self._patience.call(lambda: self._backend.get_trial(trial_id)))

    def _append(self, trial_id: int, trial: FrozenTrial) -> None:
        self._ids.append(trial_id)
        self._numbers[trial_id] = trial.number
        self._trials.append(trial)
        self._in_state[trial.state].add(trial.number)

    def changed(self, trial_id: int) -> None:
        """Take note that a trial was written."""
        # Read again when somebody asks; most trials are written several times in between.
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
        fresh = self._patience.call(lambda: self._backend.get_trial(self._ids[number]))
        self._in_state[self._trials[number].state].discard(number)
        self._in_state[fresh.state].add(number)
        self._trials[number] = fresh
        self._stale.discard(number)
