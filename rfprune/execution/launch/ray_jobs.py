"""Sweeps on a running Ray cluster, by its Jobs API; needs no Ray on this side."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from rfprune.execution.launch.advice import explain
from rfprune.execution.launch.entry import ENTRY_FILE
from rfprune.execution.launch.jobs import RAY_STATES, Job, JobState, Note, progress, unknown_job
from rfprune.execution.launch.prepared_job import PreparedJob
from rfprune.execution.launch.profiles import RayProfile
from rfprune.execution.launch.ray_address import ray_address
from rfprune.execution.launch.ray_jobs_client import JOBS_PATH, RayJobsClient

__all__ = ["find", "render", "send"]

#: The driver needs a few seconds to record the trials that it gives up; Ray's default is 3.
_STOP_SECONDS = 30
_POLL_SECONDS = 1.0
_REASON_CHARACTERS = 400


def render(prepared: PreparedJob) -> str:
    """Return the request to the Jobs API and the files that it refers to."""
    address = ray_address(prepared.profile, prepared.submission.address)
    request = json.dumps(_request(prepared), indent=1)
    return f"# POST {address}{JOBS_PATH}\n{request}\n{prepared.summary()}"


def send(prepared: PreparedJob) -> str:
    """Upload the files, start the job, and return its handle.

    Raises:
        ClusterError: the cluster cannot be reached, is too old, or refuses the job.
    """
    address = ray_address(prepared.profile, prepared.submission.address)
    client = RayJobsClient(address)
    # Before the files are sent: an older cluster would take them and then fail obscurely.
    client.check_version()
    client.upload(_package(prepared), prepared.upload.zipped())
    handle = f"ray:{client.submit(_request(prepared))}"
    Note(handle, {"address": address, "profile": prepared.submission.profile}).save()
    return handle


def find(note: Note, address: str | None) -> Job:
    """Return the job of a handle; it is asked for only when it is used."""
    client = RayJobsClient(ray_address(None, address or note.facts.get("address")))
    return RayJob(note.handle, client)


class RayJob:
    """A job of Ray's Jobs API."""

    def __init__(self, handle: str, client: RayJobsClient) -> None:
        self.handle = handle
        self._id = handle.partition(":")[2]
        self._client = client

    def status(self) -> JobState:
        """Return how the job is: its progress, or the reason of its end."""
        facts = self._facts()
        state = RAY_STATES.get(str(facts.get("status")), "running")
        if state == "pending":
            return JobState(state, "Ray is making the job's environment ready.")
        log = self._client.logs(self._id)
        if state == "failed":
            code = facts.get("driver_exit_code")
            if code == 130:  # a shell's number for SIGINT
                return JobState("cancelled", "Interrupted; submit again to resume.")
            # Without an exit code the driver never ran, and only Ray knows why.
            message = " ".join(str(facts.get("message") or "").split())[:_REASON_CHARACTERS]
            why = message if code is None else f"it ended with status {code}."
            return JobState(state, explain(log, why, "ray"))
        return JobState(state, progress(log))

    def logs(self, follow: bool = False) -> Iterator[str]:
        """Yield the driver's output."""
        shown = 0
        while True:
            # Asked before reading, so that what is written just before the end is not lost.
            over = not follow or self._ended()
            text = self._client.logs(self._id)
            # The Jobs API gives the whole log each time.
            if text[shown:]:
                yield text[shown:]
            shown = len(text)
            if over:
                return
            time.sleep(_POLL_SECONDS)

    def cancel(self) -> JobState:
        """Ask the driver to stop, and wait until it has recorded what it gives up."""
        self._facts()
        self._client.stop(self._id)
        # Ray kills a driver that has not ended by then.
        deadline = time.monotonic() + _STOP_SECONDS + 10
        while not self._ended() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return self.status()

    def _ended(self) -> bool:
        return str(self._facts().get("status")) not in ("PENDING", "RUNNING")

    def _facts(self) -> dict[str, Any]:
        facts = self._client.details(self._id)
        if facts is None:
            raise unknown_job(self.handle, f"at {self._client.address}")
        return facts


def _request(prepared: PreparedJob) -> dict[str, Any]:
    variables = {
        name: variable.value
        for name, variable in prepared.profile.environment.items()
        if variable.value is not None
    }
    request: dict[str, Any] = {
        "submission_id": prepared.name,
        "entrypoint": f"bash {ENTRY_FILE}",
        "runtime_env": {
            "working_dir": f"gcs://{_package(prepared)}",
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS), **variables},
        },
        "metadata": {"rfprune_sweep": prepared.submission.sweep.name},
    }
    if isinstance(prepared.profile, RayProfile) and prepared.profile.driver_cpus:
        request["entrypoint_num_cpus"] = prepared.profile.driver_cpus
    return request


def _package(prepared: PreparedJob) -> str:
    # The job's name is part of it, so that no two jobs share a folder that Ray may remove when one
    # of them ends.
    return f"_ray_pkg_{prepared.upload.digest()}_{prepared.name.replace('-', '_')}.zip"
