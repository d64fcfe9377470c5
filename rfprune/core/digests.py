"""Hashes: SHA-256 of bytes, files and plain values, and short keys made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["canonical_json", "digest_of_file", "key_of", "sha256_of", "sha256_of_parts"]

Content: TypeAlias = bytes | str | memoryview
#: Hex digits of a key: short enough to read and type, and at 48 bits the chance that any two of a
#: million values share one is below 1 in 500.
_KEY_DIGITS = 12


def sha256_of(content: Content) -> str:
    """Return the SHA-256 of bytes, of a text (UTF-8) or of contiguous memory, 64 hex digits."""
    return sha256_of_parts([content])


def sha256_of_parts(parts: Iterable[Content]) -> str:
    """Return the SHA-256 of parts one after the other, which need not be in memory together."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def digest_of_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hash of a file in hex digits.

    Args:
        path: the file.
        algorithm: another than SHA-256 only where the publisher of a file chose it (``md5``).
    """
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()


def canonical_json(value: Any) -> str:
    """Return the one text of a plain value: keys sorted, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def key_of(value: Any) -> str:
    """Return twelve hex digits that name a plain value by its content."""
    return sha256_of(canonical_json(value))[:_KEY_DIGITS]
