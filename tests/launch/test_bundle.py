"""What travels with a job, and what never does."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import SpecError
from rfprune.launch.bundle import Bundle, collect, is_secret
from rfprune.launch.profiles import load_profile
from rfprune.spec import SweepSpec
from rfprune.spec.files import parse_spec, parse_yaml

from .makers import profile_file, sweep


def _collect(folder: Path, spec: SweepSpec, **keys: Any) -> Bundle:
    return collect(spec, folder, load_profile(str(profile_file(folder, "ray", **keys))))


def _write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_sweep_arrives_as_it_was(tmp_path: Path) -> None:
    spec = sweep(constraints=["dsp <= 500"], start=[{"prune.budget.dsp": 1e-1}])
    bundle = _collect(tmp_path, spec)
    assert list(bundle.files) == ["sweep.yml"]
    text = bundle.read("sweep.yml").decode()
    assert parse_spec(SweepSpec, parse_yaml(text, "sweep.yml"), "sweep.yml") == spec


def test_only_files_beside_a_named_module_and_no_secrets(tmp_path: Path) -> None:
    home = tmp_path / "project"
    _write(home, "net.py", "sub/part.py", "data.npz", ".env", "key.pem", "id_rsa", "notes.txt")
    _write(home, ".git/x.py", ".venv/x.py", "other/pyvenv.cfg", "other/x.py", "__pycache__/x.py")
    _write(home, "runs/a.py", "old/sweep.json", "old/x.py", "credentials.py", "secrets.py")
    assert sorted(_collect(home, sweep(model={"name": "mlp"})).files) == ["sweep.yml"]
    named = _collect(home, sweep(model={"name": "net:build"}))
    assert sorted(named.files) == ["net.py", "sub/part.py", "sweep.yml"]


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
    bundle = _collect(tmp_path, sweep(), include=["tables/*"])
    assert sorted(bundle.files) == ["sweep.yml", "tables/a.json"]


def test_named_data_and_weights_travel_under_their_names(tmp_path: Path) -> None:
    _write(tmp_path, "sets/own.npz", "start.pt", "sets/unused.npz")
    spec = sweep(data={"file": "sets/own.npz"}, model={"name": "mlp", "weights": "start.pt"})
    bundle = _collect(tmp_path, spec)
    assert sorted(bundle.files) == ["sets/own.npz", "start.pt", "sweep.yml"]
    values = parse_yaml(bundle.read("sweep.yml").decode(), "sweep.yml")
    assert values["data"]["file"] == "sets/own.npz"


def test_data_above_the_folder_is_put_inside(tmp_path: Path) -> None:
    _write(tmp_path, "data/own/train.parquet", "data/own/test.parquet", "data/own/key.txt")
    home = tmp_path / "sweeps"
    home.mkdir()
    bundle = _collect(home, sweep(data={"file": "../data/own"}))
    assert sorted(bundle.files) == [
        "outside/own/test.parquet",
        "outside/own/train.parquet",
        "sweep.yml",
    ]
    values = parse_yaml(bundle.read("sweep.yml").decode(), "sweep.yml")
    assert values["data"]["file"] == "outside/own"


def test_paths_that_are_not_here_may_be_there(tmp_path: Path) -> None:
    for name in ("/srv/data/own.npz", "own.npz", "~/own.npz"):
        bundle = _collect(tmp_path, sweep(data={"file": name}))
        values = parse_yaml(bundle.read("sweep.yml").decode(), "sweep.yml")
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
    bundle = _collect(tmp_path, sweep(), storage="postgresql://me@db/studies")
    values = parse_yaml(bundle.read("sweep.yml").decode(), "sweep.yml")
    assert values["storage"] == "postgresql://me@db/studies"


def test_own_code_is_complete_and_small(tmp_path: Path) -> None:
    bundle = _collect(tmp_path, sweep(), code="sent")
    assert {"rfprune/__main__.py", "rfprune/launch/entry.py", "mlflow.yml"} <= set(bundle.files)
    assert not [name for name in bundle.files if "__pycache__" in name]
    bundle.check_size(5, "the cluster")


def test_too_large_says_what_to_do(tmp_path: Path) -> None:
    bundle = Bundle({"big.npz": bytes(3_000_000), "small.py": b""})
    with pytest.raises(SpecError, match=r"3.0 MB, allowed are 1 MB. Largest: big.npz \(3.0 MB\)"):
        bundle.check_size(1, "the cluster")


def test_zip_depends_on_the_content_alone(tmp_path: Path) -> None:
    _write(tmp_path, "a.py")
    first, second = Bundle({"b": b"1", "a": tmp_path / "a.py"}), Bundle({"a": b"a.py", "b": b"1"})
    assert first.zipped() == second.zipped()
    with zipfile.ZipFile(io.BytesIO(first.zipped())) as archive:
        assert archive.namelist() == ["a", "b"]
        assert archive.read("a") == b"a.py"
    assert Bundle({"b": b"2"}).digest() != Bundle({"b": b"1"}).digest()


@pytest.mark.parametrize(
    "name", [".env", ".env.local", "prod.env", "a.pem", "id_ed25519", ".ssh/config", ".netrc"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(Path(name))
    assert not is_secret(Path("net_" + name.strip(".").replace("/", "_") + "_x.py"))
