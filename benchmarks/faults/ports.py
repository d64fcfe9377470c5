"""Ports that nobody listens on."""

import socket


def free_port() -> int:
    """Return one; it is free a moment later, too, unless somebody is quick."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
