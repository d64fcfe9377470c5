"""The folder of an export: whole or not at all, with checksums, and never another network."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from rfprune.data import Dataset
from rfprune.errors import RunsError
from rfprune.runs import StepRecord
from rfprune.training import evaluate

__all__ = ["SUMS", "check_accuracy", "checksums", "new_folder"]

SUMS = "SHA256SUMS"
#: Other hardware may round a few logits differently.
_ACCURACY_TOLERANCE = 0.005


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a scratch folder that becomes `out` if all goes well, and vanishes otherwise.

    Raises:
        RunsError: the folder is in use, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunsError(f"{out}: is in use. Allowed: a new or empty folder.")
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    except OSError as error:
        raise RunsError(f"{out}: cannot be written ({error.strerror or error}).") from error
    try:
        yield scratch
        if out.exists():
            out.rmdir()
        scratch.chmod(0o755)
        os.replace(scratch, out)
    except OSError as error:
        raise RunsError(f"{out}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_accuracy(model: nn.Module, data: Dataset, record: StepRecord, trial: Path) -> None:
    """Evaluate again: a network that is not the one that was measured must not be exported.

    Raises:
        RunsError: another accuracy than that of the step.
    """
    found = {
        "val_accuracy": evaluate(model, data.x_val, data.y_val),
        "accuracy": evaluate(model, data.x_test, data.y_test),
    }
    for name, value in found.items():
        if abs(value - getattr(record, name)) > _ACCURACY_TOLERANCE:
            raise RunsError(
                f"{trial}: step {record.step} had {name} {getattr(record, name):.4f}, the "
                f"checkpoint has {value:.4f}; the data or the checkpoint have changed."
            )


def checksums(folder: Path) -> str:
    """Return the SHA-256 of every file, as ``sha256sum`` writes and checks them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    ]
    return "".join(lines)
