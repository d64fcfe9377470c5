"""From the end of a job's log to the reason in plain words, and what to do next."""

from __future__ import annotations

import re

from rfprune.execution.launch.jobs import last_line

__all__ = ["explain"]

#: Pattern in the log, and what it means; the first that matches is used.
_CAUSES = (
    # Before the pattern for any package, which would match it too.
    (
        r"No module named '?rfprune",
        "rfprune is not installed for the cluster's interpreter: {install}",
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
        "the interpreter's version of Python or Ray differs from the cluster's: set 'interpreter' "
        "in the profile to the one that started the cluster",
    ),
    (
        r"No space left on device|[Dd]isk quota exceeded",
        "the disk of the runs is full on the cluster: free some space and submit again to resume",
    ),
    (
        r"Permission denied: '?([^'\n]+)",
        r"no permission for '\1' on the cluster: choose another folder as 'runs' in the profile",
    ),
    (
        r"[Oo]ut of memory|OutOfMemory|oom-kill|oom_kill",
        "a node ran out of memory: {memory}",
    ),
    (
        r"\bKilled\b",
        "its process was killed (SIGKILL) by somebody, or by a system that was short of memory; "
        "submit again to resume",
    ),
)
#: What to do, by the kind of profile: not every kind has every key.
_INSTALL = {"kubernetes": "put it into the profile's 'image'"}
_MEMORY = {
    "slurm": "raise 'memory_gb' in the profile, or give each trial more 'resources.cpus' in the "
    "sweep, so that fewer run at once",
}
_MEMORY["kubernetes"] = _MEMORY["slurm"]
_INSTALL_ANYWHERE = "install it there, or set 'code: sent' in the profile"
_MEMORY_ANYWHERE = (
    "give each trial more 'resources.cpus' in the sweep, or say with 'resources.memory_gb' what it "
    "needs, so that fewer run at once"
)
_TAIL_CHARACTERS = 4000


def explain(log: str, otherwise: str = "", kind: str = "") -> str:
    """Return why a job failed, from its log, or `otherwise` if the log does not tell.

    Args:
        log: what the job has written.
        otherwise: what is known without it.
        kind: of the profile, whose keys the advice names.

    A sentence that rfprune itself wrote is taken as it is; otherwise the last line is added.
    """
    tail = log[-_TAIL_CHARACTERS:]
    # Our own sentence is the best there is; patterns are for what died before it could say one.
    own = [line for line in tail.splitlines() if line.startswith("rfprune: ")]
    if own:
        return own[-1].removeprefix("rfprune: ")
    for pattern, text in _CAUSES:
        found = re.search(pattern, tail, re.MULTILINE)
        if found:
            words = found.expand(text).format(
                install=_INSTALL.get(kind, _INSTALL_ANYWHERE),
                memory=_MEMORY.get(kind, _MEMORY_ANYWHERE),
            )
            return f"{words} (log: {last_line(found.group(0))})."
    line = last_line(tail)
    return f"{otherwise} Its last line: {line}".strip() if line else otherwise
