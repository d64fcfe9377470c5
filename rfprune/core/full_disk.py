"""Whether an error says that a disk is full, whatever library raised it.

Writers word it in ways of their own: torch's archive writer loses the number of the error, numpy
tells how many items it could write, SQLite has a sentence, and a compiler prints the system's.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

__all__ = ["is_full_disk"]

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
#: The system's words (also in the output of g++ and of hls4ml's build), SQLite's
#: (``SQLITE_FULL``), those of ``numpy.ndarray.tofile``, and those of torch's archive writer
#: (``caffe2/serialize/inline_container.cc``).
_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|database or disk is full"
    r"|\d+ requested and \d+ written"
    r"|PytorchStreamWriter failed writing|inline_container\.cc:\d+\] \. unexpected pos"
)


def is_full_disk(error: BaseException) -> bool:
    """Return whether `error`, or one that it was raised from, is due to a full disk or quota."""
    return any(
        (isinstance(one, OSError) and one.errno in _NUMBERS) or _WORDS.search(str(one))
        for one in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
