"""Sweeps on a running Ray cluster, by its Jobs API.

What travels is a zip file and JSON, never a pickle, so the versions of Python here and there need
not agree. Knows the REST interface of Ray's dashboard (docs.ray.io, "Ray Jobs REST API") and needs
no Ray on this side.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from rfprune.errors import ClusterError, SpecError
from rfprune.launch.advice import explain
from rfprune.launch.dashboard import Dashboard
from rfprune.launch.entry import ENTRY_FILE
from rfprune.launch.jobs import Job, JobState, Note, State, progress, unknown_job
from rfprune.launch.plan import Plan
from rfprune.launch.profiles import Profile, RayProfile

__all__ = ["find", "is_loopback", "ray_address", "render", "send"]

_DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_OLDEST_RAY = (2, 50)
#: The driver needs a few seconds to record the trials that it gives up; Ray's default is 3.
_STOP_SECONDS = 30
_POLL_SECONDS = 1.0
_REASON_CHARACTERS = 400
_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "cancelled",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
}


def ray_address(profile: Profile | None, address: str | None) -> str:
    """Return the dashboard's address: the option, the profile's, the environment's, or Ray's own.

    Raises:
        SpecError: it is no http address.
    """
    chosen = address or (profile.address if isinstance(profile, RayProfile) else None)
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        value = os.environ.get(name, "")
        if chosen is None and value.startswith(("http://", "https://")):
            chosen = value
    chosen = chosen or _DEFAULT_ADDRESS
    if "://" not in chosen:
        chosen = f"http://{chosen}"
    parts = urlsplit(chosen)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(
            f"'{chosen}' is no address of Ray's dashboard. Allowed: http(s)://HOST:PORT, e.g. "
            f"{_DEFAULT_ADDRESS}"
        )
    if parts.username or parts.password:
        raise SpecError(
            "the address holds a user name or password. Leave it out; Ray's token is read from "
            "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token."
        )
    return chosen.rstrip("/")


def is_loopback(address: str) -> bool:
    """Return whether an http address is this machine's own."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def render(plan: Plan) -> str:
    """Return the request to the Jobs API and the files that it refers to."""
    address = ray_address(plan.profile, plan.submission.address)
    request = json.dumps(_request(plan), indent=1)
    return f"# POST {address}/api/jobs/\n{request}\n{plan.summary()}"


def send(plan: Plan) -> str:
    """Upload the files, start the job, and return its handle.

    Raises:
        ClusterError: the cluster cannot be reached, is too old, or refuses the job.
    """
    address = ray_address(plan.profile, plan.submission.address)
    dashboard = Dashboard(address)
    _check_version(dashboard)
    dashboard.put(f"/api/packages/gcs/{_package(plan)}", plan.bundle.zipped())
    answer = dashboard.post("/api/jobs/", _request(plan))
    handle = f"ray:{answer['submission_id']}"
    Note(handle, {"address": address, "profile": plan.submission.profile}).save()
    return handle


def find(note: Note, address: str | None) -> Job:
    """Return the job of a handle; it is asked for only when it is used."""
    return RayJob(note.handle, Dashboard(ray_address(None, address or note.facts.get("address"))))


class RayJob:
    """A job of Ray's Jobs API."""

    def __init__(self, handle: str, dashboard: Dashboard) -> None:
        self.handle = handle
        self._id = handle.partition(":")[2]
        self._dashboard = dashboard

    def status(self) -> JobState:
        """Return how the job is: its progress, or the reason of its end."""
        facts = self._facts()
        state = _STATES.get(str(facts.get("status")), "running")
        if state == "pending":
            return JobState(state, "Ray is making the job's environment ready.")
        log = self._log()
        if state == "failed":
            code = facts.get("driver_exit_code")
            if code == 130:
                return JobState("cancelled", "Interrupted; submit again to go on.")
            return JobState(state, explain(log, _why_failed(facts)))
        return JobState(state, progress(log))

    def logs(self, follow: bool) -> Iterator[str]:
        """Yield the driver's output."""
        shown = 0
        while True:
            # Asked before reading, so that what is written just before the end is not lost.
            over = not follow or self._ended()
            text = self._log()
            if text[shown:]:
                yield text[shown:]
            shown = len(text)
            if over:
                return
            time.sleep(_POLL_SECONDS)

    def cancel(self) -> JobState:
        """Ask the driver to stop, and wait until it has recorded what it gives up."""
        self._facts()
        self._dashboard.post(f"/api/jobs/{self._id}/stop", {})
        deadline = time.monotonic() + _STOP_SECONDS + 10
        while not self._ended() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return self.status()

    def _ended(self) -> bool:
        return str(self._facts().get("status")) not in ("PENDING", "RUNNING")

    def _facts(self) -> dict[str, Any]:
        facts = self._dashboard.get(f"/api/jobs/{self._id}", missing_ok=True)
        if facts is None:
            raise unknown_job(self.handle, f"at {self._dashboard.address}")
        return facts

    def _log(self) -> str:
        answer = self._dashboard.get(f"/api/jobs/{self._id}/logs", missing_ok=True)
        return str((answer or {}).get("logs") or "")


def _why_failed(facts: dict[str, Any]) -> str:
    code = facts.get("driver_exit_code")
    if code is not None:
        return f"it ended with status {code}."
    return " ".join(str(facts.get("message") or "").split())[:_REASON_CHARACTERS]


def _request(plan: Plan) -> dict[str, Any]:
    variables = {
        name: variable.value
        for name, variable in plan.profile.environment.items()
        if variable.value is not None
    }
    request: dict[str, Any] = {
        "submission_id": plan.name,
        "entrypoint": f"bash {ENTRY_FILE}",
        "runtime_env": {
            "working_dir": f"gcs://{_package(plan)}",
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS), **variables},
        },
        "metadata": {"rfprune_sweep": plan.submission.sweep.name},
    }
    if isinstance(plan.profile, RayProfile) and plan.profile.driver_cpus:
        request["entrypoint_num_cpus"] = plan.profile.driver_cpus
    return request


def _package(plan: Plan) -> str:
    # The job's name is part of it, so that no two jobs share a folder that Ray may remove when one
    # of them ends.
    return f"_ray_pkg_{plan.bundle.digest()}_{plan.name.replace('-', '_')}.zip"


def _check_version(dashboard: Dashboard) -> None:
    answer = dashboard.get("/api/version") or {}
    text = str(answer.get("ray_version", ""))
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if len(numbers) < 2:
        raise ClusterError(
            f"{dashboard.address}: answers, but is no dashboard of Ray (no 'ray_version'). Check "
            "the address and the port."
        )
    if numbers < _OLDEST_RAY:
        raise ClusterError(
            f"{dashboard.address}: runs Ray {text}. Needed: 2.50 or later; start the cluster with "
            "a newer one."
        )
