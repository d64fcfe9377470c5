"""Samplers that are not ours: three packages in the layout of OptunaHub, and a short class."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import SpecError, WorkError
from rfprune.spec import SweepSpec
from rfprune.spec.sweep import SamplerSpec
from rfprune.study.expand import expand
from rfprune.study.own_samplers import make_own
from rfprune.study.record import Record
from rfprune.study.sampler import make_sampler
from rfprune.study.study import lock, open_study
from tests.study.conftest import FUNCTION, HERE, LAYERS, Inline, SpecMaker

FIRST = """
import numpy as np
import optuna


class FirstSampler(optuna.samplers.BaseSampler):
    def __init__(self, seed=None):
        self.rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        return distribution.to_external_repr(distribution.low if name.endswith("fc1.reuse_factor")
            else self.rng.integers(distribution.low, distribution.high + 1))
"""
PACKAGES = {
    # One module.
    "lowest": {"__init__.py": f"{FIRST}\n\n__all__ = ['FirstSampler']\n"},
    # A module of its own, imported relatively.
    "relative_one": {
        "__init__.py": "from .inner import FirstSampler\n\n__all__ = ['FirstSampler']\n",
        "inner.py": FIRST,
    },
    # Two samplers, of which one is a subclass of Optuna's and takes arguments.
    "two": {
        "__init__.py": FIRST
        + textwrap.dedent(
            """
            class Narrow(optuna.samplers.NSGAIISampler):
                def __init__(self, *, population_size, seed=None):
                    super().__init__(population_size=population_size, seed=seed)

            __all__ = ["FirstSampler", "Narrow"]
            """
        ),
    },
}


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with three packages, each in one of the places where they may lie."""
    for place, (name, files) in zip(
        ("lowest", "samplers/relative_one", "package/samplers/two"), PACKAGES.items(), strict=True
    ):
        assert place.endswith(name)
        for file, text in files.items():
            path = tmp_path / "hub" / place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return tmp_path / "hub"


def sweep(spec: SweepSpec, folder: Path, base_dir: Path) -> list[dict[str, Any]]:
    """Run a sweep and return its points."""
    from rfprune.execution.worker import WorkerContext
    from rfprune.results import SweepFolder

    inline = object.__new__(Inline)
    inline.spec, inline.folder = spec, SweepFolder(folder / spec.name)
    inline.context = WorkerContext(inline.folder.path, HERE, FUNCTION)
    with lock(inline.folder):
        inline.study = open_study(spec, inline.folder, LAYERS)
        space = expand(spec, LAYERS)
        inline.record = Record(spec, inline.folder, space, inline.study, base_dir=base_dir)
        inline.folder.write_spec(spec, {})
        inline.run()
    return [trial.user_attrs["values"] for trial in inline.study.get_trials(deepcopy=False)]


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "hub:lowest"},
        {"name": "hub:relative_one"},
        {"name": "hub:two:Narrow", "args": {"population_size": 4}},
        {"name": "hub:two:FirstSampler"},
    ],
    ids=lambda given: given["name"],
)
def test_packages_of_the_hub_run_unchanged(
    packages: Path, tmp_path: Path, make_spec: SpecMaker, sampler: dict[str, Any]
) -> None:
    points = sweep(make_spec(sampler=sampler, trials=8), tmp_path, packages)
    assert len(points) >= 8
    if "Narrow" not in sampler["name"]:
        assert {point["hardware.layers.fc1.reuse_factor"] for point in points} == {1}


def test_a_package_is_found_by_the_variable_or_where_it_is_installed(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpecError, match="no such package beside the sweep file"):
        make_own("hub:relative_one", {}, 0, tmp_path)
    monkeypatch.setenv("RFPRUNE_HUB", str(packages))
    assert type(make_own("hub:relative_one", {}, 0, tmp_path)).__name__ == "FirstSampler"
    monkeypatch.delenv("RFPRUNE_HUB")
    monkeypatch.syspath_prepend(str(packages))
    assert type(make_own("hub:lowest", {}, 0, tmp_path)).__name__ == "FirstSampler"


def test_a_sampler_of_the_users_own(tmp_path: Path, make_spec: SpecMaker) -> None:
    (tmp_path / "my_own_search.py").write_text(FIRST)
    spec = make_spec(sampler={"name": "my_own_search:FirstSampler", "seed": 3}, trials=5)
    points = sweep(spec, tmp_path, tmp_path)
    again = sweep(make_spec(**{**spec.canonical(), "name": "again"}), tmp_path, tmp_path)
    assert points == again


def test_the_seed_is_the_sweeps_and_another_after_a_continuation(packages: Path) -> None:
    def draws(n_trials: int, **changes: Any) -> float:
        spec = SamplerSpec(name="hub:lowest", **changes)
        made = make_sampler(spec.name, spec, n_trials, None, packages)  # type: ignore[arg-type]
        return float(made.rng.random())  # type: ignore[attr-defined]

    assert draws(0) == draws(0)
    assert draws(0) != draws(5)
    assert draws(0) != draws(0, seed=1)
    assert draws(0, args={"seed": 4}) == draws(5, args={"seed": 4})


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("hub:lowset", {}, "Did you mean 'lowest'?"),
        ("hub:two", {}, "has 2 samplers (FirstSampler, Narrow). Allowed: hub:PACKAGE:Class"),
        ("hub:two:Narow", {}, "has no sampler 'Narow'. Did you mean 'Narrow'? It has: First"),
        ("hub:two:Narrow", {}, "It takes: population_size, seed."),
        ("hub:lowest", {"size": 3}, "cannot be made with sampler.args {'size': 3}"),
        ("hub:broken", {}, "cannot be imported (ZeroDivisionError"),
        ("hub:json", {}, "has 0 samplers (none)"),
        ("json:JSONDecoder", {}, "is no class of samplers"),
        ("no_such_module:X", {}, "cannot import 'no_such_module'"),
    ],
)
def test_what_is_no_sampler(packages: Path, name: str, args: dict[str, Any], words: str) -> None:
    (packages / "broken").mkdir()
    (packages / "broken" / "__init__.py").write_text("1 / 0\n")
    with pytest.raises(SpecError) as refused:
        make_own(name, args, 0, packages)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ({"name": "tpo"}, "Did you mean 'tpe'?"),
        ({"name": "tpe", "args": {"x": 1}}, "not for 'tpe'"),
    ],
)
def test_names_that_are_neither(make_spec: SpecMaker, sampler: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        make_spec(sampler=sampler)
    assert words in str(refused.value)


def test_one_that_fails_in_the_middle_is_named(
    packages: Path, tmp_path: Path, make_spec: SpecMaker
) -> None:
    text = FIRST.replace("return distribution", "return study.nothing or distribution")
    (packages / "lowest" / "__init__.py").write_text(text)
    with pytest.raises(WorkError, match=r"sampler .hub:lowest. cannot draw a point"):
        sweep(make_spec(sampler={"name": "hub:lowest"}), tmp_path, packages)
