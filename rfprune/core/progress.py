"""What a long piece of work says while it runs, to whoever listens.

A tool that takes minutes is started many calls below the command that shows its progress. `saying`
names the listener, `say` tells it; where nobody listens nothing happens.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["say", "saying"]


def _nobody(text: str) -> None:
    pass


_listener: contextvars.ContextVar[Callable[[str], object]] = contextvars.ContextVar(
    "listener", default=_nobody
)


@contextmanager
def saying(listener: Callable[[str], object]) -> Iterator[None]:
    """Hand what is said within to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def say(text: str) -> None:
    """Tell the listener what is being done, in a few words without a full stop."""
    _listener.get()(text)
