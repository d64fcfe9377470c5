"""From a sweep and a profile to a job that is ready to be sent."""

from __future__ import annotations

import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from rfprune.errors import SpecError
from rfprune.execution.launch.entry import (
    ENTRY_FILE,
    ENVIRONMENT_FILE,
    entry_script,
    environment_script,
)
from rfprune.execution.launch.profiles import (
    KubernetesProfile,
    LocalProfile,
    Profile,
    SlurmProfile,
    load_profile,
)
from rfprune.execution.launch.ray_address import is_loopback, ray_address
from rfprune.execution.launch.upload import Upload, collect
from rfprune.spec import SweepSpec

__all__ = ["PreparedJob", "Submission", "default_interpreter", "prepare_job"]

#: Part of a job's name: Kubernetes allows 63 characters, and its operator adds suffixes.
_LONGEST_NAME = 24


@dataclass(frozen=True)
class Submission:
    """A sweep that is to run elsewhere.

    Attributes:
        sweep: the sweep.
        source: its file, for messages.
        base_dir: folder that relative paths in the sweep refer to.
        profile: name or path of the profile.
        address: of the cluster; the profile's if None.
    """

    sweep: SweepSpec
    source: str
    base_dir: Path
    profile: str
    address: str | None = None


@dataclass(frozen=True)
class PreparedJob:
    """A job that is ready to be sent.

    Attributes:
        name: of the job; letters, digits and hyphens.
        submission: what it was made from.
        profile: where it runs.
        upload: the files that are sent along, with the entry point ``entry.sh``.
    """

    name: str
    submission: Submission
    profile: Profile
    upload: Upload

    def summary(self) -> str:
        """Return the sizes of the files, and the texts of those that rfprune made."""
        sizes = self.upload.sizes()
        lines = [f"# {len(sizes)} files, {sum(sizes.values()) / 1e6:.2f} MB:"]
        lines += [
            f"#   {name} ({size} bytes)"
            for name, size in sizes.items()
            if not name.startswith("rfprune/")
        ]
        own = [size for name, size in sizes.items() if name.startswith("rfprune/")]
        if own:
            lines.append(f"#   rfprune/ ({len(own)} files, {sum(own)} bytes)")
        for name in (ENTRY_FILE, ENVIRONMENT_FILE, "sweep.yml"):
            lines += [f"\n# --- {name}", self.upload.read(name).decode().rstrip("\n")]
        return "\n".join(lines) + "\n"


def prepare_job(submission: Submission, name: str | None = None) -> PreparedJob:
    """Return the job for `submission`.

    Args:
        submission: the sweep and the profile.
        name: of the job; made from the sweep's name and six random digits if not given.

    Raises:
        SpecError: the profile is wrong, the sweep does not fit it, or the files are too large.
        UnknownNameError: no such profile.
    """
    profile = load_profile(submission.profile)
    _check_resources(submission, profile)
    interpreter = profile.interpreter or default_interpreter(profile, submission.address)
    upload = collect(submission.sweep, submission.base_dir, profile).with_files(
        {
            ENTRY_FILE: entry_script(profile, interpreter).encode(),
            ENVIRONMENT_FILE: environment_script(profile).encode(),
        }
    )
    upload.check_size(profile.largest_mb, f"profile '{submission.profile}'")
    if name is None:
        plain = re.sub(r"[^a-z0-9]+", "-", submission.sweep.name.lower()).strip("-")
        plain = plain[:_LONGEST_NAME].strip("-") or "sweep"
        # Random digits, so that the same sweep can be sent twice.
        name = f"rfprune-{plain}-{secrets.token_hex(3)}"
    return PreparedJob(name, submission, profile, upload)


def default_interpreter(profile: Profile, address: str | None) -> str:
    """Return this interpreter where the job runs on this machine or a shared file system."""
    if isinstance(profile, LocalProfile | SlurmProfile):
        return sys.executable
    if isinstance(profile, KubernetesProfile):
        return "python"
    return sys.executable if is_loopback(ray_address(profile, address)) else "python"


def _check_resources(submission: Submission, profile: Profile) -> None:
    if not isinstance(profile, SlurmProfile | KubernetesProfile):
        return
    needs, there = submission.sweep.resources, profile
    for key, wanted, given in (
        ("cpus", needs.cpus, there.cpus),
        ("gpus", needs.gpus, there.gpus),
        ("memory_gb", needs.memory_gb or 0, there.memory_gb),
    ):
        if given is not None and wanted > given:
            raise SpecError(
                f"{submission.source}: resources.{key}: a trial needs {wanted:g}, and a node of "
                f"profile '{submission.profile}' has {given:g}. Raise '{key}' there, or lower it "
                "here."
            )
