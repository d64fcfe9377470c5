"""Requests to Ray's dashboard, with time limits, and every failure in plain words.

The token is sent only when it is asked for, and to no other host than the one that was named.
"""

from __future__ import annotations

import json
import os
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from rfprune.errors import ClusterError

__all__ = ["Dashboard"]

_TIMEOUT_SECONDS = 30.0
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_REASON_CHARACTERS = 400


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: a token must not go to another host."""

    def redirect_request(self, *unused: Any) -> None:
        """Refuse."""


class Dashboard:
    """The HTTP interface of one Ray cluster."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._with_token = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
        self._opener = _opener(address)

    def get(self, path: str, missing_ok: bool = False) -> dict[str, Any] | None:
        """Return the JSON object at `path`; None if there is none and that is fine."""
        return self._exchange(Request(self.address + path), missing_ok)

    def post(self, path: str, value: Any) -> dict[str, Any]:
        """Send JSON and return the answer."""
        headers = {"Content-Type": "application/json"}
        body = json.dumps(value).encode()
        answer = self._exchange(Request(self.address + path, body, headers, method="POST"), False)
        return answer or {}

    def put(self, path: str, content: bytes) -> None:
        """Upload a file."""
        headers = {"Content-Type": "application/octet-stream"}
        self._exchange(Request(self.address + path, content, headers, method="PUT"), False)

    def _exchange(self, request: Request, missing_ok: bool) -> dict[str, Any] | None:
        token = _token() if self._with_token else None
        if token:
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return self._decoded(response)
        except HTTPError as error:
            with error:
                if error.code == 404 and missing_ok:
                    return None
                if error.code == 401 and not self._with_token and _token():
                    self._with_token = True
                    return self._exchange(request, missing_ok)
                raise self._refusal(error) from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise ClusterError(
                f"the Ray cluster at {self.address} cannot be reached ({reason}). Check that it "
                "runs and that the address is its dashboard's; from outside use a tunnel: "
                "ssh -L 8265:127.0.0.1:8265 HEAD"
            ) from error

    def _decoded(self, response: IO[bytes]) -> dict[str, Any] | None:
        text = response.read().decode(errors="replace")
        try:
            value = json.loads(text) if text.startswith("{") else {}
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
        lines = error.read().decode(errors="replace").strip().splitlines() or [str(error.reason)]
        reason = " ".join(lines[-1].split())[:_REASON_CHARACTERS]
        return ClusterError(
            f"the Ray cluster at {self.address} refuses the request "
            f"(status {error.code}: {reason})."
        )


def _opener(address: str) -> OpenerDirector:
    if urlsplit(address).hostname in _LOCAL_HOSTS:
        return build_opener(_NoRedirect, ProxyHandler({}))
    return build_opener(_NoRedirect)


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
