"""Addresses of databases and servers: where their passwords come from, and how they are shown.

A password never stands in a file that travels or in a text that is kept. An address in a file names
it: ``${NAME}`` is a variable of the environment, ``${file:PATH}`` the first line of a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from rfprune.errors import SpecError

__all__ = ["holds_password", "masked", "refuse_password", "reveal", "without_password"]

#: ``//user:password@`` up to the last ``@`` of the host part; the password may hold ``/`` or ``@``.
_USERINFO = re.compile(r"(?<=://)([^:/?#@\s'\"]*):([^\s'\"]*)@")
_PARAMETER = re.compile(r"(?i)(?<=[?&])((?:password|passwd|sslpassword)=)([^&\s'\"]*)")
_REFERENCE = re.compile(r"\$\{(file:)?([^}]*)\}")
_WHERE = (
    "Name it instead: ${NAME} for a variable of the environment, ${file:PATH} for a file; or leave "
    "it out (PostgreSQL reads PGPASSWORD, PGPASSFILE and ~/.pgpass)"
)


def holds_password(address: str) -> bool:
    """Return whether an address has a password in it that is not merely named."""
    found = [match[2] for pattern in (_USERINFO, _PARAMETER) for match in pattern.finditer(address)]
    return any(_REFERENCE.sub("", password) for password in found)


def refuse_password(address: object, where: str) -> None:
    """Refuse an address with a password in it.

    Raises:
        SpecError: it holds one; the message does not, and says where it belongs.
    """
    if isinstance(address, str) and holds_password(address):
        raise SpecError(f"{where}: '{masked(address)}' holds a password. {_WHERE}.")


def masked(text: str) -> str:
    """Return a text with ``***`` in the place of every password in an address."""
    return _PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1:***@", text))


def without_password(address: str) -> str:
    """Return an address with the user, and without the password, for messages and comparisons."""
    return _PARAMETER.sub(r"\1", _USERINFO.sub(r"\1@", address))


def reveal(address: str, where: str, environment: Mapping[str, str] | None = None) -> str:
    """Return an address with what it names put in; only for the call that connects.

    Args:
        address: as a file has it.
        where: file and key, for messages.
        environment: variables; those of this process if None.

    Raises:
        SpecError: a variable that is not set, or a file that cannot be read.
    """
    given = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        is_file, name = match[1], match[2]
        if is_file:
            try:
                lines = Path(name).expanduser().read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not text"
                raise SpecError(f"{where}: the file '{name}' cannot be read ({reason}).") from None
            secret = lines[0] if lines else ""
        else:
            if name not in given:
                raise SpecError(f"{where}: the variable '{name}', which it names, is not set.")
            secret = given[name]
        inside = _USERINFO.search(address)
        # Within the host part a secret may hold what separates the parts of an address.
        escaped = inside is not None and inside.start() <= match.start() < inside.end()
        return quote(secret, safe="") if escaped else secret

    return _REFERENCE.sub(value, address)
