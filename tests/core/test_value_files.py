"""Files of tensors and plain values: whole, damaged, hostile, of another kind."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from rfprune.core.value_files import load_content, read_values, save_content, write_values
from rfprune.errors import NetworkError, RunsError

KIND = "rfprune.test/1"
VALUES = {
    "numbers": [1, 2.5, None, True],
    "text": "ü",
    "arrays": {"f": np.arange(600, dtype=np.float32).reshape(3, 200), "b": np.array([True])},
}


class Hostile:
    """Its unpickling would fail the test."""

    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("unpickled",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "values.pt"
    write_values(path, KIND, VALUES)
    return path


def test_values_come_back_as_they_were(path: Path) -> None:
    values = read_values(path, KIND)
    assert values["numbers"] == VALUES["numbers"]
    assert values["text"] == "ü"
    for name, array in VALUES["arrays"].items():  # type: ignore[attr-defined]
        np.testing.assert_array_equal(values["arrays"][name], array, strict=True)


def test_a_file_that_is_cut_or_changed_anywhere_is_one_sentence(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(RunsError, match=r"values\.pt: is damaged") as caught:
            read_values(path, KIND)
        assert "\n" not in str(caught.value)
    data = VALUES["arrays"]["f"].tobytes()  # type: ignore[index]
    start = whole.index(data)
    for at in (start, start + len(data) // 2, start + len(data) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RunsError, match="the checksum of its part"):
            read_values(path, KIND)


def test_no_file_runs_code(path: Path) -> None:
    for content in (pickle.dumps(Hostile(), protocol=2), b"no file of torch"):
        path.write_bytes(content)
        with pytest.raises(RunsError, match="could run any code, so it is refused"):
            read_values(path, KIND)
    torch.save({"kind": KIND, "values": Hostile()}, path)
    with pytest.raises(NetworkError, match=r"so it is refused\. Do this\."):
        load_content(path, NetworkError, "Do this.")


def test_another_kind_and_no_file_are_refused(path: Path) -> None:
    with pytest.raises(RunsError, match=f"of kind '{KIND}', expected 'rfprune.test/2'"):
        read_values(path, "rfprune.test/2")
    torch.save([1], path)
    with pytest.raises(RunsError, match="of kind None"):
        read_values(path, KIND)
    with pytest.raises(RunsError, match=r"absent\.pt: no such file"):
        read_values(path.with_name("absent.pt"), KIND)


def test_files_of_torch_before_1_6_are_read(path: Path) -> None:
    weights = {"w": torch.arange(4.0)}
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    assert load_content(path)["w"].tolist() == [0, 1, 2, 3]


def test_a_write_that_fails_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_content(path, {"f": lambda: 0})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["values.pt"]


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    piece = bytes(1 << 24)
    packed = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed as archive, archive.open("archive/data/0", "w", force_zip64=True) as file:
        for _ in range(80):
            file.write(piece)
    assert path.stat().st_size < 10_000_000
    with pytest.raises(RunsError, match=r"would be 1.3 GB unpacked|and 1.3 GB unpacked"):
        load_content(path)
