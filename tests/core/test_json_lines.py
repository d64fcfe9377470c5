"""Logs of JSON lines, cut off wherever a crash may cut them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from rfprune.core.json_lines import append_line, read_records, repair, whole_lines, write_records
from rfprune.errors import RunsError


class Record(BaseModel):
    number: int
    text: str


#: Line separators of Unicode and a multi-byte character, which must neither cut a line nor be cut.
TEXTS = ("plain", "two\nlines", "a\u2028b\x85c", "naïve 日本", "")
RECORDS = [Record(number=i, text=text) for i, text in enumerate(TEXTS)]


def _log(folder: Path) -> Path:
    path = folder / "log.jsonl"
    for record in RECORDS:
        append_line(path, record.model_dump())
    return path


@pytest.mark.parametrize("escaped", [True, False])
def test_a_log_that_is_cut_at_any_byte_can_be_read_and_written_on(
    tmp_path: Path, escaped: bool
) -> None:
    path = _log(tmp_path)
    if not escaped:
        write_records(path, RECORDS)
    whole = path.read_bytes()
    added = Record(number=9, text="later")
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = RECORDS[: whole[:size].count(b"\n")]
        assert read_records(path, Record) == kept
        repair(path)
        append_line(path, added.model_dump(), durable=False)
        assert read_records(path, Record) == [*kept, added]


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    repair(path)
    assert whole_lines(path) == []
    assert read_records(path, Record) == []
    assert not path.exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"number": "x", "text": ""}', "number: Input should be a valid integer"),
        ('{"number": 1', "Invalid JSON"),
        ("\udcff", "can't decode byte"),
    ],
)
def test_a_damaged_line_names_the_file_and_the_fault(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = _log(tmp_path)
    content = path.read_bytes() + line.encode(errors="surrogateescape") + b"\n"
    path.write_bytes(content + json.dumps({"number": 1, "text": ""}).encode() + b"\n")
    with pytest.raises(RunsError, match=r"log\.jsonl: is damaged") as caught:
        read_records(path, Record)
    assert reason in str(caught.value)
