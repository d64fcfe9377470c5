"""From the end of a job's log to the reason in plain words, and what to do next."""

from __future__ import annotations

import re

from rfprune.launch.jobs import last_line

__all__ = ["explain"]

_CAUSES = (
    (
        r"No module named '?rfprune",
        "rfprune is not installed for the cluster's interpreter: install it there, or set "
        "'code: sent' in the profile",
    ),
    (
        r"No module named '?([\w.]+)",
        r"the cluster's interpreter has no package '\1': install rfprune's dependencies there, or "
        "name the right one as 'interpreter' in the profile",
    ),
    (
        r"(\S+): (?:command not found|not found|No such file or directory)\s*$",
        r"the cluster has no '\1': check 'interpreter' and the files that the profile names",
    ),
    (
        r"[Vv]ersion mismatch",
        "the interpreter has another version of Python or Ray than the cluster: name the one that "
        "the cluster was started with as 'interpreter' in the profile",
    ),
    (
        r"No space left on device|[Dd]isk quota exceeded",
        "the disk of the runs is full on the cluster: free some space and submit again, which goes "
        "on from there",
    ),
    (
        r"Permission denied: '?([^'\n]+)",
        r"no permission for '\1' on the cluster: choose another folder as 'runs' in the profile",
    ),
    (
        r"[Oo]ut of memory|OutOfMemory|oom-kill|Killed$",
        "a node ran out of memory: raise 'memory_gb', or give each trial more 'cpus' so that fewer "
        "run at once",
    ),
)
_TAIL_CHARACTERS = 4000


def explain(log: str, otherwise: str = "") -> str:
    """Return why a job failed, from its log; `otherwise` is said if the log does not tell.

    A sentence that rfprune itself wrote is taken as it is; otherwise the last line is added.
    """
    tail = log[-_TAIL_CHARACTERS:]
    own = [line for line in tail.splitlines() if line.startswith("rfprune: ")]
    if own:
        return own[-1].removeprefix("rfprune: ")
    for pattern, text in _CAUSES:
        found = re.search(pattern, tail, re.MULTILINE)
        if found:
            return f"{found.expand(text)} (log: {last_line(found.group(0))})."
    line = last_line(tail)
    return f"{otherwise} Its last line: {line}".strip() if line else otherwise
