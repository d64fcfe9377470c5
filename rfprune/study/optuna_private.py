"""Everything that rests on what Optuna does not document, in one place.

The rest of this room uses Optuna in public: samplers, distributions, `Study.ask` and `tell`, the
abstract methods of `BaseStorage`. Each entry here says why that is not enough, and
``tests/study/test_optuna_private.py`` checks each against the Optuna that is installed.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna import Study

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState

    from rfprune.study.storage import OwnedStorage

__all__ = [
    "OwnedStudy",
    "OwnerAttribute",
    "ends_a_step",
    "journal_lines",
    "journal_lock",
]


class OwnedStudy(Study):
    """A study whose driver may also write to trials that an earlier driver began.

    Made directly, which Optuna leaves to `create_study` and `load_study`: both return a plain
    `Study`, and that has public access neither to its storage nor to a trial that another process
    has asked for. Trials that a killed driver left running could be ended, but not with a reason.
    """

    def __init__(self, study_name: str, storage: OwnedStorage) -> None:
        super().__init__(study_name=study_name, storage=storage)
        self._owned = storage
        self.together = storage.together
        self.settle = storage.settle
        self._hidden: set[int] = set()

    def hide(self, numbers: Iterable[int]) -> None:
        """Leave trials out where those of some states are asked for, as every sampler asks."""
        self._hidden |= set(numbers)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        # Samplers call this one, some of them past the storage, from a copy that the study keeps.
        found = super()._get_trials(deepcopy, states, use_cache)
        if states is None or not self._hidden:
            return found
        return [trial for trial in found if trial.number not in self._hidden]

    def close(self) -> None:
        """Let go of the study; call it when its driver ends."""
        self._owned.close()

    def hurry(self) -> None:
        """Wait no longer for a storage that does not answer."""
        self._owned.hurry()

    def write_trial_attr(self, number: int, key: str, value: Any) -> None:
        """Set a user attribute of trial `number`, which must not have ended."""
        self._owned.set_trial_user_attr(self._id_of(number), key, value)

    def write_trial_system_attr(self, number: int, key: str, value: Any) -> None:
        """Set a system attribute of trial `number`, as Optuna's own samplers do.

        `Trial.set_system_attr` is gone from the public interface, and a sampler is handed a
        `FrozenTrial`, which cannot be written.
        """
        self._owned.set_trial_system_attr(self._id_of(number), key, value)

    def _id_of(self, number: int) -> int:
        study_id = self._owned.get_study_id_from_name(self.study_name)
        return self._owned.get_trial_id_from_study_id_trial_number(study_id, number)


class OwnerAttribute:
    """One user attribute of a study in a database, replaced only if it is what it was.

    Optuna sets an attribute whatever it was before, so that of two drivers which take a study at
    the same moment both would believe they have it. The tables are Optuna's own
    (``optuna/storages/_rdb/models.py``); so is the engine, whose connections are the storage's.
    """

    def __init__(self, storage: RDBStorage, study_id: int, key: str) -> None:
        self._engine = storage.engine
        self._names = {"study": study_id, "key": key}

    def read(self) -> str | None:
        """Return the JSON text of the attribute, None if there is none."""
        from sqlalchemy import text

        query = "SELECT value_json FROM study_user_attributes WHERE study_id = :study AND {key}"
        with self._engine.connect() as connection:
            found = connection.execute(text(self._for_dialect(query)), self._names).scalar()
        return None if found is None else str(found)

    def exchange(self, old: str | None, new: str) -> bool:
        """Replace the text `old` by `new`; return False if it was something else."""
        from sqlalchemy import text
        from sqlalchemy.exc import IntegrityError

        command = (
            "INSERT INTO study_user_attributes (study_id, {name}, value_json) "
            "VALUES (:study, :key, :new)"
            if old is None
            else "UPDATE study_user_attributes SET value_json = :new "
            "WHERE study_id = :study AND {key} AND value_json = :old"
        )
        values = {**self._names, "new": new} | ({} if old is None else {"old": old})
        try:
            with self._engine.begin() as connection:
                done = connection.execute(text(self._for_dialect(command)), values)
                return bool(done.rowcount == 1)
        except IntegrityError:
            return False  # somebody else has just made it

    def _for_dialect(self, command: str) -> str:
        # KEY is a reserved word of MySQL, which quotes names in its own way.
        name = self._engine.dialect.identifier_preparer.quote_identifier("key")
        return command.format(name=name, key=f"{name} = :key")


#: How the first key of a line in a journal is written; Optuna reads a torn or foreign file without
#: a check of its own and fails with whatever error its content leads to.
_FIRST_KEY = b'{"op_code":'


def journal_lines(content: bytes) -> bytes | None:
    """Return the whole lines of a journal's content, each on a line of its own.

    Left out are blank lines, zeros, and lines of which only the beginning is there, also where the
    next one was glued to it.

    Returns:
        None if the content is not a journal's, or damaged in any other way.
    """
    lines: list[bytes] = []
    decoder = json.JSONDecoder()
    for number, line in enumerate(content.replace(b"\0", b"").split(b"\n")):
        parts = [_FIRST_KEY + part for part in line.strip().split(_FIRST_KEY)[1:]]
        if line.strip() and not line.strip().startswith(_FIRST_KEY):
            return None
        for part in parts:
            try:
                _, end = decoder.raw_decode(part.decode())
                torn = part.decode()[end:].strip() != ""
            except ValueError:
                torn = True
            if not torn:
                lines.append(part.strip())
            elif part is parts[-1] and number < content.count(b"\n"):
                return None  # the end of its line is there, so it is damaged in its middle
    return b"".join(line + b"\n" for line in lines) if lines or not content.strip() else None


def journal_lock(path: Path) -> Path:
    """Return the link by which `JournalFileSymlinkLock` keeps other writers out of a journal.

    Optuna removes the link of a dead owner itself, but only after 30 s of waiting.
    """
    return Path(f"{path}.lock")


def ends_a_step(log: dict[str, Any], synced: frozenset[str]) -> bool:
    """Return whether a journal's line makes a study, sets a state, or sets a `synced` attribute.

    The format of the lines is Optuna's own. Its backend has no option but to sync after each of the
    dozen lines that a trial writes.

    Args:
        log: the line as a mapping.
        synced: names of user attributes of trials; those of a study always end a step.
    """
    if "state" in log or "directions" in log:
        return True
    attributes = log.get("user_attr", {})
    of_study = "trial_id" not in log and bool(attributes)
    return of_study or not synced.isdisjoint(attributes)
