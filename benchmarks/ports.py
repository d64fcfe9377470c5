"""Ports for servers that are started a moment later."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

__all__ = ["free_port", "free_ports"]

#: Ray's workers take the ports from 10002 to 19999 (``ray start --help``).
_ABOVE_RAY = 20_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on, and that no program is given by chance.

    A port that the system hands out (``bind`` to port 0) is of the range from which it also serves
    every connection and every server without a port of its own, such as Ray's agents. Until a slow
    server listens on it, another may have it. These lie below that range.
    """
    end = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
    draw = random.SystemRandom()  # two processes of one test run draw different ones
    with ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            taken = held.enter_context(socket.socket())
            try:
                taken.bind(("127.0.0.1", draw.randrange(_ABOVE_RAY, max(end, _ABOVE_RAY + 2_000))))
            except OSError:
                continue
            found.append(taken.getsockname()[1])
        return found


def free_port() -> int:
    """Return one of `free_ports`."""
    return free_ports(1)[0]
