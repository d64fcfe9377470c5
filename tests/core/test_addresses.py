"""Passwords in addresses: named, hidden, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfprune.core.addresses import holds_password, masked, refuse_password, reveal, without_password
from rfprune.errors import SpecError

#: Address, whether it holds a password, how it is shown without one.
ADDRESSES = [
    ("postgresql://me:hunter2@h/db", True, "postgresql://me@h/db"),
    ("postgresql+psycopg://me:h/u@n@h:5/db?a=1", True, "postgresql+psycopg://me@h:5/db?a=1"),
    ("postgresql://me@h/db", False, "postgresql://me@h/db"),
    ("postgresql://me:${PW}@h/db", False, "postgresql://me@h/db"),
    ("mysql://me:${file:/run/pw}@h/db", False, "mysql://me@h/db"),
    ("postgresql://h/db?password=hunter2", True, "postgresql://h/db?password="),
    ("sqlite:////srv/study.db", False, "sqlite:////srv/study.db"),
    ("http://127.0.0.1:5000", False, "http://127.0.0.1:5000"),
]


@pytest.mark.parametrize(("address", "holds", "shown"), ADDRESSES)
def test_a_password_is_seen_and_not_shown(address: str, holds: bool, shown: str) -> None:
    assert holds_password(address) == holds
    assert without_password(address) == shown
    assert "hunter2" not in masked(f"could not connect to {address} (refused)")
    if holds:
        with pytest.raises(SpecError, match=r"x.yml: storage: .*holds a password") as caught:
            refuse_password(address, "x.yml: storage")
        assert "hunter2" not in str(caught.value)
    else:
        refuse_password(address, "x.yml: storage")


def test_what_an_address_names_is_put_in(tmp_path: Path) -> None:
    from sqlalchemy import make_url

    secret = tmp_path / "password"
    secret.write_text("a/b@c:d%\nsecond line\n")
    for address in ("postgresql://me:${PW}@h/db", f"postgresql://me:${{file:{secret}}}@h/db"):
        url = make_url(reveal(address, "x", {"PW": "a/b@c:d%"}))
        assert (url.username, url.password, url.host, url.database) == ("me", "a/b@c:d%", "h", "db")
    assert reveal("${ADDRESS}/db", "x", {"ADDRESS": "http://h:1"}) == "http://h:1/db"


def test_what_is_named_and_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="x: storage: the variable 'NOPE'"):
        reveal("postgresql://me:${NOPE}@h/db", "x: storage", {})
    with pytest.raises(SpecError, match=r"x: storage: the file '/nope' cannot be read \(No such"):
        reveal("postgresql://me:${file:/nope}@h/db", "x: storage", {})
