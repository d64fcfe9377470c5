"""Files that appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from rfprune.core.files import read_json, write_atomic, write_json, write_sections
from rfprune.core.json_lines import append_line


def test_replaces_and_leaves_no_scratch_files(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.txt"
    write_atomic(path, "one")
    write_atomic(path, b"two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]


def test_a_fault_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    write_atomic(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_written_files_are_as_open_as_the_umask_allows(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    write_atomic(tmp_path / "ours", "x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_json_and_lines(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    assert (tmp_path / "a.json").read_text() == '{\n "x": 1\n}\n'
    append_line(tmp_path / "l", {"a": 1})
    append_line(tmp_path / "l", {"b": None})
    assert (tmp_path / "l").read_text() == '{"a":1}\n{"b":null}\n'


def test_sections_have_a_line_each_and_are_read_as_any_json(tmp_path: Path) -> None:
    value = {"prune": {"budget": {"dsp": 0.5}}, "seed": 0, "name": 'a "b"'}
    write_sections(tmp_path / "spec.json", value)
    assert read_json(tmp_path / "spec.json") == value
    text = (tmp_path / "spec.json").read_text()
    assert text.splitlines() == [
        "{",
        ' "prune": {"budget": {"dsp": 0.5}},',
        ' "seed": 0,',
        ' "name": "a \\"b\\""',
        "}",
    ]
