"""What travels with a job, and what never does."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import SpecError
from rfprune.execution.launch.profiles import load_profile
from rfprune.execution.launch.upload import Upload, collect
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec, parse_yaml

from .makers import profile_file, sweep


def _collect(folder: Path, spec: SweepSpec, **keys: Any) -> Upload:
    return collect(spec, folder, load_profile(str(profile_file(folder, "ray", **keys))))


def _write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_sweep_arrives_as_it_was(tmp_path: Path) -> None:
    spec = sweep(constraints=["dsp <= 500"], start=[{"prune.budget.dsp": 1e-1}])
    upload = _collect(tmp_path, spec)
    assert list(upload.files) == ["sweep.yml"]
    text = upload.read("sweep.yml").decode()
    assert parse_spec(SweepSpec, parse_yaml(text, "sweep.yml"), "sweep.yml") == spec


def test_only_files_beside_a_named_module_and_no_secrets(tmp_path: Path) -> None:
    home = tmp_path / "project"
    _write(home, "net.py", "sub/part.py", "data.npz", ".env", "key.pem", "id_rsa", "notes.txt")
    _write(home, ".git/x.py", ".venv/x.py", "other/pyvenv.cfg", "other/x.py", "__pycache__/x.py")
    _write(home, "runs/a.py", "old/sweep.json", "old/x.py")
    assert sorted(_collect(home, sweep(model={"name": "mlp"})).files) == ["sweep.yml"]
    named = _collect(home, sweep(model={"name": "net:build"}))
    assert sorted(named.files) == ["net.py", "sub/part.py", "sweep.yml"]


def test_objects_that_were_handed_over_travel(tmp_path: Path) -> None:
    home = tmp_path / "given"
    files = [f"given_{what}.{kind}" for what in ("loss_1", "model_2") for kind in ("pkl", "py")]
    _write(home, *files, "other.pkl")
    spec = sweep(model={"name": "given_model_2:given"}, task={"loss": "given_loss_1:given"})
    assert sorted(_collect(home, spec).files) == [*files, "sweep.yml"]
    (home / "given_model_2.pkl").unlink()
    with pytest.raises(SpecError, match=r"given_model_2\.pkl: is missing"):
        _collect(home, spec)


def test_modules_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "net.py", "sweeps/mine.yml")
    monkeypatch.chdir(tmp_path)
    spec = sweep(model={"name": "net:build"})
    assert sorted(_collect(tmp_path / "sweeps", spec).files) == ["net.py", "sweep.yml"]


def test_module_that_is_installed_does_not_travel(tmp_path: Path) -> None:
    _write(tmp_path, "unrelated.py")
    assert list(_collect(tmp_path, sweep(model={"name": "torchvision:x"})).files) == ["sweep.yml"]


def test_included_patterns(tmp_path: Path) -> None:
    _write(tmp_path, "tables/a.json", "tables/b.pem", "tables/.env", "c.json")
    for name in ("tables/.env", "tables/b.pem"):
        rest = [n for n in ("tables/.env", "tables/b.pem") if n != name]
        with pytest.raises(SpecError, match=f"{name}: looks like a secret"):
            _collect(tmp_path, sweep(), include=["tables/*"], exclude=rest)
    upload = _collect(tmp_path, sweep(), include=["tables/*"], exclude=["tables/b.*", "*/.env"])
    assert sorted(upload.files) == ["sweep.yml", "tables/a.json"]
    upload = _collect(
        tmp_path, sweep(), include=["tables/*"], allow=["tables/.env", "tables/b.pem"]
    )
    assert sorted(upload.files) == ["sweep.yml", "tables/.env", "tables/a.json", "tables/b.pem"]


def test_named_data_and_weights_travel_under_their_names(tmp_path: Path) -> None:
    _write(tmp_path, "sets/own.npz", "start.pt", "sets/unused.npz")
    spec = sweep(data={"file": "sets/own.npz"}, model={"name": "mlp", "weights": "start.pt"})
    upload = _collect(tmp_path, spec)
    assert sorted(upload.files) == ["sets/own.npz", "start.pt", "sweep.yml"]
    values = parse_yaml(upload.read("sweep.yml").decode(), "sweep.yml")
    assert values["data"]["file"] == "sets/own.npz"


def test_data_above_the_folder_is_put_inside(tmp_path: Path) -> None:
    _write(tmp_path, "data/own/train.parquet", "data/own/test.parquet", "data/own/key.txt")
    home = tmp_path / "sweeps"
    home.mkdir()
    upload = _collect(home, sweep(data={"file": "../data/own"}))
    assert sorted(upload.files) == [
        "outside/own/test.parquet",
        "outside/own/train.parquet",
        "sweep.yml",
    ]
    values = parse_yaml(upload.read("sweep.yml").decode(), "sweep.yml")
    assert values["data"]["file"] == "outside/own"


def test_paths_that_are_not_here_may_be_there(tmp_path: Path) -> None:
    for name in ("/srv/data/own.npz", "own.npz", "~/own.npz"):
        upload = _collect(tmp_path, sweep(data={"file": name}))
        values = parse_yaml(upload.read("sweep.yml").decode(), "sweep.yml")
        assert values["data"]["file"] == name


def test_secret_that_is_named_or_linked_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "server.pem")
    (tmp_path / "own.npz").symlink_to(tmp_path / "server.pem")
    for name in ("server.pem", "own.npz"):
        with pytest.raises(SpecError, match="looks like a secret"):
            _collect(tmp_path, sweep(data={"file": name}))


def test_password_in_the_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"storage: .*holds a password") as caught:
        _collect(tmp_path, sweep(storage="postgresql://me:hunter2@db/x"))
    assert "hunter2" not in str(caught.value)


def test_storage_of_the_profile_wins(tmp_path: Path) -> None:
    upload = _collect(tmp_path, sweep(), storage="postgresql://me@db/studies")
    values = parse_yaml(upload.read("sweep.yml").decode(), "sweep.yml")
    assert values["storage"] == "postgresql://me@db/studies"


def test_own_code_is_complete_and_small(tmp_path: Path) -> None:
    upload = _collect(tmp_path, sweep(), code="sent")
    assert {"rfprune/__main__.py", "rfprune/execution/launch/entry.py", "mlflow.yml"} <= set(
        upload.files
    )
    assert not [name for name in upload.files if "__pycache__" in name]
    upload.check_size(5, "the cluster")


def test_too_large_says_what_to_do(tmp_path: Path) -> None:
    upload = Upload({"big.npz": bytes(3_000_000), "small.py": b""})
    with pytest.raises(
        SpecError, match=r"3.0 MB, but at most 1 MB are allowed. Largest: big.npz \(3.0 MB\)"
    ):
        upload.check_size(1, "the cluster")


def test_zip_depends_on_the_content_alone(tmp_path: Path) -> None:
    _write(tmp_path, "a.py")
    first, second = Upload({"b": b"1", "a": tmp_path / "a.py"}), Upload({"a": b"a.py", "b": b"1"})
    assert first.zipped() == second.zipped()
    with zipfile.ZipFile(io.BytesIO(first.zipped())) as archive:
        assert archive.namelist() == ["a", "b"]
        assert archive.read("a") == b"a.py"
    assert Upload({"b": b"2"}).digest() != Upload({"b": b"1"}).digest()


def test_what_was_sent_is_listed(tmp_path: Path) -> None:
    _write(tmp_path, "a.npz")
    upload = _collect(tmp_path, sweep(data={"file": "a.npz"}))
    listed = {entry["name"]: entry for entry in upload.listed()}
    assert sorted(listed) == ["a.npz", "sweep.yml"]
    assert listed["a.npz"]["bytes"] == 5
    assert listed["a.npz"]["sha256"] == hashlib.sha256(b"a.npz").hexdigest()
