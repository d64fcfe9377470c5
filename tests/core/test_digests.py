"""Hashes against published test vectors and the system's own programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from rfprune.core.digests import (
    canonical_json,
    digest_of_file,
    key_of,
    sha256_of,
    sha256_of_parts,
)

#: FIPS 180-4, "abc"; RFC 1321, A.5.
SHA256_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
MD5_ABC = "900150983cd24fb0d6963f7d28e17f72"


def test_published_vectors(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    letters = np.frombuffer(b"abc", np.uint8)
    assert sha256_of("abc") == sha256_of(b"abc") == sha256_of(letters.data) == SHA256_ABC
    assert sha256_of_parts(["a", b"", b"b", memoryview(b"c")]) == SHA256_ABC
    assert digest_of_file(path) == SHA256_ABC
    assert digest_of_file(path, "md5") == MD5_ABC


@pytest.mark.parametrize(("algorithm", "program"), [("sha256", "sha256sum"), ("md5", "md5sum")])
def test_a_large_file_as_the_system_sees_it(tmp_path: Path, algorithm: str, program: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(np.random.default_rng(1).bytes(3_000_001))
    printed = subprocess.run([program, str(path)], capture_output=True, text=True, check=True)
    assert digest_of_file(path, algorithm) == printed.stdout.split()[0]


def test_a_value_has_one_text_and_one_key() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ü": "x", "c": 1e-5}}
    shuffled = {"a": {"c": 1e-05, "ü": "x"}, "b": [1, 2.5, None, True]}
    text = r'{"a":{"c":1e-05,"\u00fc":"x"},"b":[1,2.5,null,true]}'
    assert canonical_json(value) == canonical_json(shuffled) == text
    printed = subprocess.run(["sha256sum"], input=text.encode(), capture_output=True, check=True)
    # Run folders are named by these keys: a later version must find them again.
    assert key_of(value) == key_of(shuffled) == printed.stdout.decode()[:12]
    assert key_of(value) != key_of(value | {"b": [1, 2.5, None, False]})
