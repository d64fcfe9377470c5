"""Which counter or sensor a trial reads its energy from."""

from __future__ import annotations

from rfprune.edge.monitor import Counter, open_counter
from rfprune.errors import MissingExtraError
from rfprune.spec import EdgeSpec

__all__ = ["find_counter"]


def find_counter(edge: EdgeSpec, on_gpu: bool) -> Counter | None:
    """Return what energy is read from, or None where it is to be estimated.

    Args:
        edge: of the trial.
        on_gpu: whether the network computes on a GPU.

    Raises:
        MissingExtraError: a meter that the file names cannot be read; with ``auto`` and ``none``
            there may be none.
    """
    try:
        return open_counter(edge.meter, on_gpu)
    except MissingExtraError:
        if edge.meter in ("auto", "none"):
            return None
        raise
