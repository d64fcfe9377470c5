"""The clusters' own commands (sbatch, kubectl, ...): run without a shell, faults in plain words."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from rfprune.errors import ClusterError, MissingExtraError

__all__ = ["run", "stream"]

_TIMEOUT_SECONDS = 120.0
_REASON_CHARACTERS = 600
#: What the commands say, and what it means for the profile (Slurm's and kubectl's own texts).
_MEANINGS = (
    (
        r"[Ii]nvalid partition",
        "there is no such partition: correct 'partition' ('sinfo' lists them)",
    ),
    # Slurm says the same of both.
    (r"[Ii]nvalid account", "the account or partition is not yours: correct 'account'"),
    (r"[Ii]nvalid qos", "there is no such QOS for you: correct 'qos'"),
    (r"[Ii]nvalid feature", "no node has these features: correct 'constraint'"),
    (
        r"node configuration is not available",
        "no node has that many 'cpus' or 'gpus' or that much 'memory_gb': lower them",
    ),
    (
        r"Unable to contact slurm controller|Unable to establish|Connection refused",
        "the cluster does not answer: check that this is a machine of the cluster and that it runs",
    ),
    (
        r"no matches for kind .?RayJob",
        "the KubeRay operator is not installed: see cluster/README.md, Kubernetes",
    ),
    (r"namespaces? .* not found", "there is no such namespace: create it or correct 'namespace'"),
    (r"context .* does not exist", "there is no such context: correct 'context'"),
    (r"[Ff]orbidden", "permission denied: ask for the rights on rayjobs"),
    (r"Unauthorized|provide credentials", "access is refused: log in to the cluster again"),
)


def run(command: Sequence[str], stdin: str | None = None) -> str:
    """Return what a command prints.

    Raises:
        MissingExtraError: the command is not installed.
        ClusterError: it fails or does not answer; with its reason and what to do.
    """
    path = _find(command[0])
    try:
        done = subprocess.run(
            [path, *command[1:]],
            # Never the terminal: a command that asks for a password would wait for ever.
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{command[0]}: no answer in {_TIMEOUT_SECONDS:.0f} s. Check that the cluster runs."
        ) from None
    if done.returncode != 0:
        raise ClusterError(_explain(command[0], done.stderr or done.stdout, done.returncode))
    return done.stdout


def stream(command: Sequence[str]) -> Iterator[str]:
    """Yield what a command prints, line by line, as it comes.

    Raises:
        MissingExtraError: the command is not installed.
        ClusterError: it fails.
    """
    path = _find(command[0])
    with (
        # A pipe that nobody reads would stop the command when it is full.
        tempfile.TemporaryFile("w+", errors="replace") as complaints,
        subprocess.Popen(
            [path, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield from process.stdout
        except GeneratorExit:
            process.terminate()
            raise
        if process.wait() != 0:
            complaints.seek(0)
            raise ClusterError(_explain(command[0], complaints.read(), process.returncode))


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        kind = "kubernetes" if program == "kubectl" else "slurm"
        raise MissingExtraError(
            f"the program '{program}' is not on this machine's PATH; profiles of kind {kind} need "
            "it. Install it, or run this on a machine of the cluster."
        )
    return path


def _explain(program: str, reason: str, status: int) -> str:
    said = " ".join(reason.split())[:_REASON_CHARACTERS] or f"status {status}"
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, reason):
            return f"{program}: {meaning} (it said: {said})."
    return f"{program} failed ({said})."
