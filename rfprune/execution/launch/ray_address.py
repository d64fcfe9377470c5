"""The address of a Ray cluster's dashboard: which one is meant, and whether it is this machine."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from rfprune.errors import SpecError
from rfprune.execution.launch.profiles import Profile, RayProfile

__all__ = ["is_loopback", "ray_address"]

_DEFAULT_ADDRESS = "http://127.0.0.1:8265"


def ray_address(profile: Profile | None, address: str | None) -> str:
    """Return the dashboard's address: the option, the profile's, the environment's, or Ray's own.

    Raises:
        SpecError: it is not an http address, or holds a password.
    """
    chosen = address or (profile.address if isinstance(profile, RayProfile) else None)
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        value = os.environ.get(name, "")
        # RAY_ADDRESS mostly holds HOST:PORT of the control store, which takes no jobs.
        if chosen is None and value.startswith(("http://", "https://")):
            chosen = value
    chosen = chosen or _DEFAULT_ADDRESS
    if "://" not in chosen:
        chosen = f"http://{chosen}"
    parts = urlsplit(chosen)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(
            f"'{chosen}' is not an address of Ray's dashboard. Allowed: http(s)://HOST:PORT, e.g. "
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
