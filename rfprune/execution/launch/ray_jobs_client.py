"""Ray's Jobs API over HTTP: the only place that knows its paths, its token and its faults.

The interface is documented (docs.ray.io, "Ray Jobs REST API"). What travels is a zip file and JSON,
never a pickle, so the versions of Python and Ray here and there need not agree.

Ray's own `JobSubmissionClient` is not used. Tried with Ray 2.60: it takes ``RAY_ADDRESS`` over the
address that it is given, so that a job would go to another cluster than the one of ``--address``,
and where the variable holds HOST:PORT, as in every job on a cluster, it waits 40 s and fails; its
requests have no time limit (still waiting after 75 s for a host that accepts and says nothing); it
asks a proxy for addresses of this machine, where tunnels end; it sends a token only if
``RAY_AUTH_MODE`` is set here too; an address of something else is a ``JSONDecodeError``. Importing
it doubles the start of ``rfprune submit`` (0.6 s and 85 MB in place of 0.3 s and 48 MB).
"""

from __future__ import annotations

import json
import os
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from rfprune.errors import ClusterError

__all__ = ["JOBS_PATH", "RayJobsClient"]

JOBS_PATH = "/api/jobs/"
_TIMEOUT_SECONDS = 30.0
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_REASON_CHARACTERS = 400
_OLDEST_RAY = (2, 50)


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: a token must not go to another host."""

    def redirect_request(self, *unused: Any) -> None:
        """Refuse."""


class RayJobsClient:
    """The jobs of one Ray cluster.

    Every method raises `ClusterError` if the cluster cannot be reached, lets nobody in, or refuses.
    """

    def __init__(self, address: str) -> None:
        """Remember the address; nothing is sent yet.

        Args:
            address: of the dashboard, ``http(s)://HOST:PORT``.
        """
        self.address = address
        self._with_token = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
        # A proxy cannot reach this machine's own ports, where tunnels to a cluster end.
        local = [ProxyHandler({})] if urlsplit(address).hostname in _LOCAL_HOSTS else []
        self._opener = build_opener(_NoRedirect, *local)

    def check_version(self) -> None:
        """Refuse a cluster that is too old, and an address of something else.

        Raises:
            ClusterError: says which.
        """
        text = str((self._ask("GET", "/api/version") or {}).get("ray_version", ""))
        numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
        if len(numbers) < 2:
            raise ClusterError(
                f"{self.address}: answers, but is not a dashboard of Ray (no 'ray_version'). Check "
                "the address and the port."
            )
        if numbers < _OLDEST_RAY:
            raise ClusterError(
                f"{self.address}: runs Ray {text}. Needed: 2.50 or later; start the cluster with "
                "a newer one."
            )

    def upload(self, package: str, content: bytes) -> None:
        """Store a zip file, for a job's working directory ``gcs://PACKAGE``."""
        self._ask("PUT", f"/api/packages/gcs/{quote(package)}", content, "application/octet-stream")

    def submit(self, request: dict[str, Any]) -> str:
        """Start a job and return its id.

        Args:
            request: ``submission_id``, ``entrypoint``, ``runtime_env``, ... as the API takes them.
        """
        answer = self._ask("POST", JOBS_PATH, json.dumps(request).encode(), "application/json")
        return str((answer or {}).get("submission_id") or request["submission_id"])

    def details(self, job: str) -> dict[str, Any] | None:
        """Return status, message and exit code of a job; None if the cluster does not know it."""
        return self._ask("GET", f"{JOBS_PATH}{quote(job)}", missing_ok=True)

    def logs(self, job: str) -> str:
        """Return what a job has written; nothing before it has begun."""
        answer = self._ask("GET", f"{JOBS_PATH}{quote(job)}/logs", missing_ok=True)
        return str((answer or {}).get("logs") or "")

    def stop(self, job: str) -> None:
        """Ask a job to stop; it may take its time."""
        self._ask("POST", f"{JOBS_PATH}{quote(job)}/stop", b"{}", "application/json")

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "",
        missing_ok: bool = False,
    ) -> dict[str, Any] | None:
        """Return the JSON object of the answer, empty if it is none; None for a permitted 404."""
        request = Request(self.address + path, body, method=method)
        if content_type:
            request.add_header("Content-Type", content_type)
        token = _token()
        if self._with_token and token:
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                text = response.read().decode(errors="replace")
        except HTTPError as error:
            with error:
                if error.code == 404 and missing_ok:
                    return None
                # The token goes only to a cluster that asks for one.
                if error.code == 401 and token and not self._with_token:
                    self._with_token = True
                    return self._ask(method, path, body, content_type, missing_ok)
                raise self._refusal(error) from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise ClusterError(
                f"the Ray cluster at {self.address} cannot be reached ({reason}). Check that it "
                "runs and that the address is its dashboard's; from outside use a tunnel: "
                "ssh -L 8265:127.0.0.1:8265 HEAD"
            ) from error
        try:
            value = json.loads(text)
        except ValueError:
            value = {}
        return value if isinstance(value, dict) else {}

    def _refusal(self, error: HTTPError) -> ClusterError:
        if error.code in (401, 403):
            has = "has no token" if error.code == 401 else "has another token"
            return ClusterError(
                f"the Ray cluster at {self.address} refuses access: it asks for a token, and this "
                f"side {has}. Put the cluster's token into ~/.ray/auth_token, or name its file in "
                "RAY_AUTH_TOKEN_PATH."
            )
        # The dashboard answers with a whole traceback; its last line is the reason.
        lines = error.read().decode(errors="replace").strip().splitlines() or [str(error.reason)]
        reason = " ".join(lines[-1].split())[:_REASON_CHARACTERS]
        return ClusterError(
            f"the Ray cluster at {self.address} refuses the request "
            f"(status {error.code}: {reason})."
        )


def _token() -> str | None:
    """Return Ray's token from where Ray itself looks for it, or None."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
