"""Where things are looked for: the user's folders, and files that other files name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel

from rfprune.core.paths import NamesFile, find_named, named_files, places_of, user_folder
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec

Kind = Literal["cache", "config", "state"]
VARIABLES: dict[Kind, str] = {
    "cache": "XDG_CACHE_HOME",
    "config": "XDG_CONFIG_HOME",
    "state": "XDG_STATE_HOME",
}
LINUX: dict[Kind, str] = {"cache": ".cache", "config": ".config", "state": ".local/state"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize("kind", VARIABLES)
def test_the_variables_name_the_users_folders(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setenv(VARIABLES[kind], "/elsewhere/here")
    assert user_folder(kind) == Path("/elsewhere/here/rfprune")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these are the folders of Linux")
@pytest.mark.parametrize("value", [None, "", "relative/folder"])
@pytest.mark.parametrize("kind", LINUX)
def test_the_users_folders_on_linux(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv(VARIABLES[kind], value)
    assert user_folder(kind) == home / LINUX[kind] / "rfprune"
    assert not home.exists(), "asking makes no folder"


@pytest.mark.skipif(sys.platform != "darwin", reason="these are the folders of macOS")
def test_the_users_folders_on_macos(home: Path) -> None:
    assert user_folder("cache") == home / "Library" / "Caches" / "rfprune"
    assert user_folder("config") == home / "Library" / "Application Support" / "rfprune"


def test_the_naming_files_folder_comes_first(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, here, further = (tmp_path / name for name in ("base", "here", "further"))
    for folder in (base, here, further, home):
        folder.mkdir()
    monkeypatch.chdir(here)
    for folder in (further, here, base):
        (folder / "x").touch()
        assert find_named("x", base, further) == folder / "x"
    assert find_named("x", None, None) == here / "x"
    assert find_named("y", base, further) is None
    assert places_of("y", base, further) == [base / "y", here / "y", further / "y"]
    assert places_of("y", here) == [here / "y"], "no place twice"
    (home / "x").touch()
    assert places_of("~/x", base) == [home / "x"]
    assert places_of(str(further / "y"), base) == [further / "y"]


class Inner(BaseModel):
    weights: Annotated[str | None, NamesFile()] = None
    device: Annotated[str, NamesFile((".yml", ".yaml"))] = "pi"


class Outer(BaseModel):
    inner: Inner | None = None
    other: str = "x.yml"
    table: Annotated[str, NamesFile((".csv",))] = ""


@pytest.mark.parametrize(
    ("spec", "files"),
    [
        (Outer(), {}),
        (Outer(inner=Inner()), {}),
        (Outer(table="a.csv", inner=Inner(weights="w")), {"table": "a.csv", "inner.weights": "w"}),
        (Outer(inner=Inner(device="b/c.yaml")), {"inner.device": "b/c.yaml"}),
    ],
)
def test_marked_keys_name_files(spec: Outer, files: dict[str, str]) -> None:
    assert dict(named_files(spec)) == files


def _sweep(**sections: object) -> SweepSpec:
    values = {
        "name": "demo",
        "model": {"name": "edge_cnn"},
        "data": {"name": "digits_images"},
        "search": {"train.epochs": {"choices": [1, 2]}},
        "objectives": {"val_accuracy": "max"},
        "trials": 2,
        **sections,
    }
    return parse_spec(SweepSpec, values, "demo.yml")


def test_the_files_of_a_sweep() -> None:
    assert dict(named_files(_sweep())) == {}
    whole = _sweep(
        model={"name": "edge_cnn", "weights": "w.pt"},
        data={"file": "../d.npz"},
        edge={"device": "own.yml"},
    )
    assert dict(named_files(whole)) == {
        "model.weights": "w.pt",
        "data.file": "../d.npz",
        "edge.device": "own.yml",
    }
    assert dict(named_files(_sweep(model={"name": "net.pt"}))) == {"model.name": "net.pt"}
