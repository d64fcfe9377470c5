"""The entry point of every job: the command of a laptop, in a folder that holds all it needs.

The same two scripts go to every kind of cluster. Values are quoted once, here; no other text of a
job holds a value that a shell would read.
"""

from __future__ import annotations

from shlex import quote

import rfprune
from rfprune.execution.launch.profiles import KubernetesProfile, Profile
from rfprune.execution.launch.upload import SWEEP_FILE

__all__ = ["ENTRY_FILE", "ENVIRONMENT_FILE", "entry_script", "environment_script", "shell_path"]

ENTRY_FILE = "entry.sh"
ENVIRONMENT_FILE = "environment.sh"


def shell_path(path: str) -> str:
    """Return a path as one word of a shell; a leading ``~/`` becomes ``"$HOME"/``."""
    return f'"$HOME"/{quote(path[2:])}' if path.startswith("~/") else quote(path)


def entry_script(profile: Profile, interpreter: str) -> str:
    """Return the script that runs the sweep that lies beside it.

    Args:
        profile: where it runs.
        interpreter: Python on the cluster.
    """
    python = shell_path(interpreter)
    return (
        "#!/usr/bin/env bash\n"
        "# Runs the sweep that lies beside this file.\n"
        "set -eu\n"
        'cd -- "$(dirname -- "${BASH_SOURCE[0]}")"\n'
        f". ./{ENVIRONMENT_FILE}\n"
        f"{python} -m rfprune.execution.launch.preflight {quote(rfprune.__version__)}\n"
        f"exec {python} -m rfprune sweep ./{SWEEP_FILE} --runs {shell_path(profile.runs)}\n"
    )


def environment_script(profile: Profile) -> str:
    """Return the script that sets the variables of the sweep; it names secrets, and holds none."""
    runs = shell_path(profile.runs)
    uri = f'sqlite:///"$(cd -- {runs} && pwd)"/mlflow.db'
    if profile.tracking_uri is not None:
        uri = quote(profile.tracking_uri)
    lines = [
        "# Variables of the sweep.",
        "set -eu",
        f"mkdir -p -- {runs}",
        f"MLFLOW_TRACKING_URI={uri}",
        f"MLFLOW_DEFAULT_ARTIFACT_ROOT={runs}/mlartifacts",
        "export MLFLOW_TRACKING_URI MLFLOW_DEFAULT_ARTIFACT_ROOT",
        "export RAY_USAGE_STATS_ENABLED=0",
    ]
    # The sent code before what is installed.
    if profile.code == "sent":
        lines.append('export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"')
    lines += _variables(profile)
    return "\n".join(lines) + "\n"


def _variables(profile: Profile) -> list[str]:
    lines = []
    for name, variable in profile.environment.items():
        if variable.secret is not None and isinstance(profile, KubernetesProfile):
            # The container has it already.
            continue
        if variable.file is not None:
            source = f'"$(cat -- {shell_path(variable.file)})"'
        elif variable.variable is not None:
            source = f'"${{{variable.variable}?is named by the profile and not set here}}"'
        else:
            source = quote(variable.value or "")
        # Assigned before it is exported: `export X=$(...)` would hide that the command failed.
        lines += [f"{name}={source}", f"export {name}"]
    return lines
