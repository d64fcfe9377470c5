"""The persistent Optuna study of a sweep: opened, locked, compared with the sweep file.

The study is the record of the search: every trial with its point, its state and, if it failed, its
reason. It is kept in the sweep's folder (a journal file) or on a database server (``storage:`` in
the sweep file). One driver at a time writes it; reports only read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rfprune.errors import MissingExtraError, RunsError
from rfprune.hardware.reuse import LayerSizes
from rfprune.runs import SweepFolder
from rfprune.spec import SweepSpec
from rfprune.spec.files import changes

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

    from rfprune.search.storage import OwnedStudy

__all__ = [
    "free_name",
    "is_driven",
    "lock",
    "open_study",
    "read_study",
    "set_aside",
]

#: Keys of a sweep file that may change between start and continuation.
FREE_KEYS = ("trials", "resources", "retries")

_MARK = "rfprune"
_FORMAT = 2
_LOCK = ".driver.lock"
_SHOWN = 4


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
        if not _take(handle):
            raise RunsError(
                f"{folder.path}: the sweep is in use by {_holder(path)}. Wait for it, stop it, or "
                "give this sweep another name."
            )
        since = time.strftime("%Y-%m-%d %H:%M:%S")
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


def _take(handle: int) -> bool:
    """Take the lock, unless another driver holds it; who only looks holds it for microseconds."""
    for _ in range(3):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def is_driven(folder: SweepFolder) -> bool:
    """Return whether a driver is at work on the sweep, here or on a host that shares the folder."""
    try:
        with (folder.path / _LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def open_study(spec: SweepSpec, folder: SweepFolder, layers: LayerSizes) -> OwnedStudy:
    """Open or create the study of `spec`; call with the lock held.

    Raises:
        RunsError: the study is unreadable, foreign, or of a sweep file that says otherwise.
    """
    import optuna

    from rfprune.search.storage import OwnedStorage, OwnedStudy

    where = spec.storage or str(folder.study_path)
    if spec.storage is None:
        _mend_journal(folder.study_path)
    maximize, minimize = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    directions = [maximize if d == "max" else minimize for d in spec.objectives.values()]
    with _readable(where):
        storage = OwnedStorage(_storage(spec, folder))
        if all(s.study_name != spec.name for s in storage.get_all_studies()):
            storage.create_new_study(directions, spec.name)
        study = OwnedStudy(spec.name, storage)
        states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
        mark = study.user_attrs.get(_MARK)
    fresh = {"format": _FORMAT, "spec": spec.canonical(), "layers": _plain(layers)}
    if mark is None and not states:
        _check_folder_is_new(folder, where)
        study.set_user_attr(_MARK, fresh)
    else:
        _check_same(mark, fresh, where, spec.name)
        # Points that wait were queued by a driver that ended before it began.
        _check_folder_is_ours(folder, where, len(states) - states.count("WAITING"))
    return study


def read_study(folder: SweepFolder) -> Study:
    """Return the study of a sweep for reading.

    Raises:
        RunsError: there is none, or it is unreadable.
    """
    import optuna

    spec = folder.spec()
    where = spec.storage or str(folder.study_path)
    if spec.storage is None and not folder.study_path.exists():
        raise RunsError(f"{where}: no such file; the record of the sweep '{spec.name}' is missing.")
    name = spec.name if spec.storage is None else folder.path.name
    with _readable(where):
        return optuna.load_study(study_name=name, storage=_storage(spec, folder))


def set_aside(spec: SweepSpec, folder: SweepFolder) -> Path | None:
    """Rename a sweep's folder (and its study on a server) so that a fresh one can begin.

    Returns:
        Where everything stands now, or None if there was nothing.

    Raises:
        RunsError: another driver is at work on the sweep.
    """
    import optuna

    if not folder.path.exists():
        return None
    with lock(folder):
        target = free_name(folder.path)
        if spec.storage is not None:
            with _readable(spec.storage):
                storage = _storage(spec, folder)
                if any(s.study_name == spec.name for s in optuna.get_all_study_summaries(storage)):
                    optuna.copy_study(
                        from_study_name=spec.name,
                        from_storage=storage,
                        to_storage=storage,
                        to_study_name=target.name,
                    )
                    optuna.delete_study(study_name=spec.name, storage=storage)
        folder.path.rename(target)
    return target


def free_name(path: Path) -> Path:
    """Return an unused name beside `path` that tells when it was set aside."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = [f"{path.name}.old-{stamp}"] + [f"{path.name}.old-{stamp}.{k}" for k in range(1, 100)]
    return next(path.with_name(name) for name in names if not path.with_name(name).exists())


def _storage(spec: SweepSpec, folder: SweepFolder) -> BaseStorage:
    import optuna
    from optuna.storages import JournalStorage, RDBStorage

    from rfprune.search.journal import Journal

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if spec.storage is None:
        return JournalStorage(Journal(str(folder.study_path)))
    return RDBStorage(spec.storage)


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    """Turn whatever a damaged or foreign store raises into one sentence."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    where = _without_password(where)
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"storage {where}: its database driver is not installed ({error.__cause__ or error}); "
            "install psycopg2-binary for postgresql, mysqlclient for mysql."
        ) from None
    except (SQLAlchemyError, OptunaError) as error:
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        raise RunsError(f"{where}: is no Optuna study that can be opened ({reason}).") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, RunsError):
            raise
        raise RunsError(
            f"{where}: is no Optuna study that can be read ({type(error).__name__}: {error}). "
            "Give the sweep another name, or use --fresh to set the folder aside."
        ) from None


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    if not mark or "@" not in rest:
        return url
    user, _, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}@{host}"


def _mend_journal(path: Path) -> None:
    """Cut off a last line that was not written whole, and remove a dead driver's file lock.

    Without this, the next line would be glued to the torn one and the journal be unreadable; and
    the first write would wait 30 s for the dead owner of the lock. Both need the driver's own lock.
    """
    Path(f"{path}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        # Only a journal is mended: a foreign file is left as it is, for the reader to refuse.
        if 0 < whole < len(content) and content.startswith(b'{"op_code":'):
            file.truncate(whole)


def _plain(layers: LayerSizes) -> dict[str, list[int]]:
    return {name: [size[0], size[1]] for name, size in layers.items()}


def _check_folder_is_new(folder: SweepFolder, where: str) -> None:
    if next(folder.trials(), None) is not None:
        raise RunsError(
            f"{folder.path}: holds trials, but their study {_without_password(where)} is empty or "
            "gone. Restore it, use --fresh to set the folder aside, or choose another name."
        )


def _check_folder_is_ours(folder: SweepFolder, where: str, n_trials: int) -> None:
    if n_trials and not (folder.path / "sweep.json").exists():
        raise RunsError(
            f"{_without_password(where)}: holds {n_trials} trials of a sweep with this name whose "
            f"folder is not {folder.path}. Use that folder (--runs), or choose another name."
        )


def _check_same(mark: Any, fresh: dict[str, Any], where: str, name: str) -> None:
    """Refuse a study that is not ours, or whose sweep file said something else."""
    if not isinstance(mark, dict) or mark.get("format") != _FORMAT:
        raise RunsError(
            f"{_without_password(where)}: the study '{name}' was not made by this version of "
            "rfprune. Give the sweep another name."
        )
    try:
        # Read again, so that keys which are newer than the study have their defaults.
        stored = SweepSpec.model_validate(mark["spec"]).canonical()
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise RunsError(
            f"{_without_password(where)}: the study '{name}' has a sweep file that cannot be read "
            f"any more (key '{key}'). Use --fresh, or choose another name."
        ) from None
    old = {**stored, "layers of the network": mark.get("layers")}
    new = {**fresh["spec"], "layers of the network": fresh["layers"]}
    changed = changes(
        {key: value for key, value in old.items() if key not in FREE_KEYS},
        {key: value for key, value in new.items() if key not in FREE_KEYS},
    )
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise RunsError(
            f"{name}: the sweep file has changed since the sweep began: "
            f"{'; '.join(changed[:_SHOWN])}{more}. Take the change back, use --fresh to begin "
            f"again, or choose another name. Free to change: {', '.join(FREE_KEYS)}."
        )
