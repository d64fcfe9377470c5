"""The persistent Optuna study of a sweep: opened, locked, compared with the sweep file.

The study is the record of the search: every trial with its point, its state and, if it failed, its
reason. It is kept in the sweep's folder (a journal file) or on a database server (``storage:`` in
the sweep file). One driver at a time writes it; reports only read.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rfprune.core.addresses import masked, reveal, without_password
from rfprune.core.files import read_json, write_atomic
from rfprune.core.locks import is_locked, take
from rfprune.errors import MissingExtraError, RfpruneError, RunsError
from rfprune.hardware.reuse import LayerSizes
from rfprune.results import SweepFolder
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import changes
from rfprune.study.ownership import ATTRIBUTE as OWNER
from rfprune.study.ownership import Lease, Owner, read_owner
from rfprune.study.trials import EARLIER

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from rfprune.study.optuna_private import OwnedStudy
    from rfprune.study.outages import Patience

__all__ = [
    "free_name",
    "is_driven",
    "lock",
    "open_study",
    "read_study",
    "set_aside",
    "shown_storage",
]

#: Keys of a sweep file that may change between start and continuation.
FREE_KEYS = ("trials", "resources", "retries", "runs", "stop")

_MARK = "rfprune"
_FORMAT = 2
_LOCK = ".driver.lock"
_SHOWN = 4
#: Defaults that are others now, in the words of `changes`: nobody has changed a file. The sweep
#: goes on with those of today, as with all that a version does better.
_MOVED_DEFAULTS = ("prune.agent.exploration.fraction: 0.6 -> 0.2",)


@contextlib.contextmanager
def lock(folder: SweepFolder) -> Iterator[None]:
    """Hold the sweep for this driver; the lock goes with the process, however it ends.

    Raises:
        RunsError: another driver holds it, or the folder cannot be written.
    """
    path = folder.path / _LOCK
    absent = [place for place in (folder.path, *folder.path.parents) if not place.exists()]
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunsError(f"{folder.path}: cannot be written ({error.strerror}).") from None
    try:
        # `is_driven`, which only looks, holds it for microseconds.
        if not take(handle, seconds=0.2):
            raise RunsError(
                f"{folder.path}: the sweep is in use by {_holder(path)}. Wait for that process, "
                "stop it, or give this sweep another name."
            )
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        # For the message of whoever finds the lock held; the lock itself needs no content.
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        os.truncate(handle, 0)
        os.pwrite(handle, json.dumps(facts).encode(), 0)
        try:
            yield
        finally:
            _forget_if_empty(path, absent)
    finally:
        os.close(handle)


def _forget_if_empty(path: Path, made: Sequence[Path]) -> None:
    """Remove the lock and the folders made for it, if nothing else has come: input was refused."""
    # Where the folder has been set aside, it is gone already.
    with contextlib.suppress(OSError):
        if made and os.listdir(path.parent) == [path.name]:
            path.unlink()
            for place in made:
                place.rmdir()


def is_driven(folder: SweepFolder) -> bool:
    """Return whether a driver is at work on the sweep, here or on a host that shares the folder."""
    return is_locked(folder.path / _LOCK)


def _holder(path: Path) -> str:
    try:
        facts = read_json(path)
        return f"process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (RunsError, KeyError, TypeError):
        return "another process"


def open_study(
    spec: SweepSpec,
    folder: SweepFolder,
    layers: LayerSizes,
    sweep_id: str = "",
    rebuild: bool = False,
) -> OwnedStudy:
    """Open or create the study of `spec`; call with the lock held, and `close` it at the end.

    Args:
        spec: the sweep.
        folder: its run folder.
        layers: of the network.
        sweep_id: of ``sweep.json``; with the folder's place it says whose study it is.
        rebuild: whether a new study may belong to a folder that holds trials.

    Raises:
        RunsError: the study is unreadable, foreign, of another folder, in use, or was made from a
            different sweep file.
    """
    from rfprune.study.optuna_private import OwnedStudy
    from rfprune.study.outages import Patience
    from rfprune.study.storage import OwnedStorage

    where = shown_storage(spec, folder)
    if spec.storage is None:
        _mend_journal(folder.study_path)
    patience = Patience(where)
    with _readable(where):
        backend = _storage(spec, folder, patience)
        study_id = _study_id(spec, backend)
        lease = None
        if spec.storage is not None:
            lease = _lease(backend, study_id, f"{where}: {spec.name}")
            mine = Owner.here(folder.path, sweep_id or f"{folder.path.resolve()}")
            lease.acquire(mine, lambda: _n_run(backend.get_all_trials(study_id)) > 0)
        study = OwnedStudy(spec.name, OwnedStorage(backend, patience, lease))
    try:
        with _readable(where):
            n_trials = len(study.get_trials(deepcopy=False))
            n_run = _n_run(study.get_trials(deepcopy=False))
            mark = study.user_attrs.get(_MARK)
        sizes = {name: [size[0], size[1]] for name, size in layers.items()}
        fresh = {"format": _FORMAT, "spec": spec.canonical(), "layers": sizes}
        if mark is None and not n_trials:
            if not rebuild:
                _check_folder_is_new(folder, where)
            _begin(study, fresh, list(spec.objectives))
        else:
            if rebuild and n_trials:
                raise RunsError(
                    f"{where}: the study '{spec.name}' holds {n_trials} trials, so it is not made "
                    "again from the run folders. Leave out --rebuild-study."
                )
            _check_same(mark, fresh, where, spec.name)
            _check_folder_is_ours(folder, where, n_run)
    except BaseException:
        study.close()
        raise
    return study


def _begin(study: Study, mark: dict[str, Any], objectives: list[str]) -> None:
    """Name the objectives for Optuna's own pages, and say what the study was made from."""
    with warnings.catch_warnings():
        # The names are experimental to Optuna; nothing here rests on them.
        warnings.simplefilter("ignore")
        study.set_metric_names(objectives)
    study.set_user_attr(_MARK, mark)


def _n_run(trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials have run here; waiting ones were queued by a driver that ran none."""
    own = [trial for trial in trials if EARLIER not in trial.user_attrs]
    return sum(trial.state.name != "WAITING" for trial in own)


def _study_id(spec: SweepSpec, backend: BaseStorage) -> int:
    """Return the id of the study, which is made if it does not exist."""
    from optuna.exceptions import DuplicatedStudyError
    from optuna.study import StudyDirection

    if all(s.study_name != spec.name for s in backend.get_all_studies()):
        maximize, minimize = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
        directions = [maximize if way == "max" else minimize for way in spec.objectives.values()]
        # Another driver may have made it a moment ago; the lease says whose it is.
        with contextlib.suppress(DuplicatedStudyError):
            return backend.create_new_study(directions, spec.name)
    return backend.get_study_id_from_name(spec.name)


def _lease(backend: BaseStorage, study_id: int, where: str) -> Lease:
    from optuna.storages import RDBStorage

    from rfprune.study.optuna_private import OwnerAttribute

    assert isinstance(backend, RDBStorage)
    attribute = OwnerAttribute(backend, study_id, OWNER)
    return Lease(attribute.read, attribute.exchange, where)


def read_study(folder: SweepFolder) -> Study:
    """Return the study of a sweep for reading.

    Raises:
        RunsError: there is none, or it is unreadable.
    """
    import optuna

    spec = folder.spec()
    where = shown_storage(spec, folder)
    if spec.storage is None and not folder.study_path.exists():
        raise RunsError(f"{where}: no such file; the record of the sweep '{spec.name}' is missing.")
    name = spec.name if spec.storage is None else folder.path.name
    with _readable(where):
        return optuna.load_study(study_name=name, storage=_storage(spec, folder))


def set_aside(spec: SweepSpec, folder: SweepFolder) -> Path | None:
    """Rename a sweep's folder (and its study on a server) so that a fresh one can begin.

    Returns:
        Where everything is now, or None if there was nothing.

    Raises:
        RunsError: another driver is at work on the sweep.
    """
    import optuna

    if not folder.path.exists():
        return None
    with lock(folder):
        target = free_name(folder.path)
        if spec.storage is not None:
            with _readable(shown_storage(spec, folder)):
                storage = _storage(spec, folder)
                if _is_ours(spec, folder, storage):
                    optuna.copy_study(
                        from_study_name=spec.name,
                        from_storage=storage,
                        to_storage=storage,
                        to_study_name=target.name,
                    )
                    optuna.delete_study(study_name=spec.name, storage=storage)
        folder.path.rename(target)
    return target


def _is_ours(spec: SweepSpec, folder: SweepFolder, storage: BaseStorage) -> bool:
    """Return whether there is a study of the sweep's name, and no other folder's."""
    import optuna

    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    found = [summary for summary in summaries if summary.study_name == spec.name]
    if not found:
        return False
    owner = read_owner(found[0].user_attrs)
    known = (folder.path / "sweep.json").exists() and folder.facts().get("sweep_id")
    mine = Owner.here(folder.path, str(known or ""))
    return owner is None or owner.shares_sweep_with(mine)


def free_name(path: Path, why: str = "old") -> Path:
    """Return an unused name beside `path` that says when, and why, it was set aside."""
    first = f"{path.name}.{why}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = [first] + [f"{first}.{k}" for k in range(1, 100)]
    return next(path.with_name(name) for name in names if not path.with_name(name).exists())


def _storage(spec: SweepSpec, folder: SweepFolder, patience: Patience | None = None) -> BaseStorage:
    import optuna
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import OperationalError

    from rfprune.study.journal import StudyJournal

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if spec.storage is None:
        return StudyJournal(str(folder.study_path), patience)
    address = reveal(spec.storage, f"{spec.name}: storage")
    # Connections that a restarted server has cut are noticed before they are used.
    options = {"pool_pre_ping": True}
    try:
        return RDBStorage(address, options)
    except OperationalError as error:
        # Two drivers that start at once on a new database both make its tables.
        if "already exists" not in str(error):
            raise
        return RDBStorage(address, options)


def shown_storage(spec: SweepSpec, folder: SweepFolder) -> str:
    """Return where the study is, without the password of its address."""
    return str(folder.study_path) if spec.storage is None else without_password(spec.storage)


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    """Turn whatever a damaged or foreign store raises into one sentence."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"storage {where}: its database driver is not installed ({error.__cause__ or error}). "
            "For postgresql: pip install 'rfprune[postgres]'; for mysql: pip install mysqlclient."
        ) from None
    except (SQLAlchemyError, OptunaError) as error:
        reason = masked(str(error.__cause__ or error).strip().split("\n")[0])
        raise RunsError(f"{where}: is not an Optuna study that can be opened ({reason}).") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, RfpruneError):
            raise
        raise RunsError(
            f"{where}: is not an Optuna study that can be read ({type(error).__name__}: {error}). "
            "Use --rebuild-study to make it again from the run folders, --fresh to set the folder "
            "aside, or give the sweep another name."
        ) from None


def _mend_journal(path: Path) -> None:
    """Take out of a journal what is no whole line, and remove a dead driver's file lock.

    A crash leaves half a line, and half a line is glued to the next one; blank lines come from
    editors, and zeros from a power failure. Each of them makes Optuna give the journal up. What is
    taken out was never carried out by anybody; a line that is otherwise damaged stays, for the
    reader to refuse. Without the removal of the lock the first write would wait 30 s for its owner.
    Both need the driver's own lock.
    """
    from rfprune.study.optuna_private import journal_lines, journal_lock

    journal_lock(path).unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    # None: damaged in its middle, or foreign; opening it will say so.
    mended = journal_lines(content)
    if mended is None or mended == content:
        return
    # More than a torn end was taken out: the original is worth a look.
    if not content.startswith(mended):
        kept = free_name(path, "damaged")
        kept.write_bytes(content)
    write_atomic(path, mended)


def _check_folder_is_new(folder: SweepFolder, where: str) -> None:
    if next(folder.trials(), None) is not None:
        raise RunsError(
            f"{folder.path}: holds trials, but their study {where} is empty or gone. Restore it, "
            "use --rebuild-study to make it again from the run folders, --fresh to set the folder "
            "aside, or choose another name."
        )


def _check_folder_is_ours(folder: SweepFolder, where: str, n_trials: int) -> None:
    if n_trials and not (folder.path / "sweep.json").exists():
        raise RunsError(
            f"{where}: holds {n_trials} trials of a sweep with this name whose "
            f"folder is not {folder.path}. Use that folder (--runs), or choose another name."
        )


def _check_same(mark: Any, fresh: dict[str, Any], where: str, name: str) -> None:
    """Refuse a study that is not ours, or whose sweep file said something else."""
    if not isinstance(mark, dict) or mark.get("format") != _FORMAT:
        raise RunsError(
            f"{where}: the study '{name}' was not made by this version of "
            "rfprune. Give the sweep another name."
        )
    try:
        # Read again, so that keys which are newer than the study have their defaults.
        stored = SweepSpec.model_validate(mark["spec"]).canonical()
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise RunsError(
            f"{where}: the study '{name}' holds a sweep file that can no longer "
            f"be read (key '{key}'). Use --fresh, or choose another name."
        ) from None
    old = {**stored, "layers of the network": mark.get("layers")}
    new = {**fresh["spec"], "layers of the network": fresh["layers"]}
    for values in (old, new):
        # Another password, or another way to name it, is the same study.
        values["storage"] = values["storage"] and without_password(values["storage"])
    changed = changes(
        {key: value for key, value in old.items() if key not in FREE_KEYS},
        {key: value for key, value in new.items() if key not in FREE_KEYS},
    )
    changed = [change for change in changed if change not in _MOVED_DEFAULTS]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise RunsError(
            f"{name}: the sweep file has changed since the sweep began: "
            f"{'; '.join(changed[:_SHOWN])}{more}. Undo the change, use --fresh to start over, or "
            f"choose another name. Keys that may change: {', '.join(FREE_KEYS)}."
        )
