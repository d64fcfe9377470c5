"""Files that are written to break their reader: one sentence each, at once, and no gigabytes."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from rfprune.errors import SpecError
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import apply_override, parse_spec, parse_yaml, read_yaml

_WORDS = ", ".join(["lol"] * 9)


def bomb(levels: int = 12) -> str:
    """Nine billion laughs."""
    lines = [f"a0: &a0 [{_WORDS}]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]")
    return "\n".join(lines)


def merge_bomb(levels: int = 30) -> str:
    lines = ["m0: &m0 {x: 1, y: 2}"]
    for n in range(1, levels):
        lines.append(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}")
    return "\n".join(lines)


HOSTILE = {
    "aliases that multiply": (bomb(), "more than 200000 values"),
    "merge keys that multiply": (merge_bomb(), "more than 200000 values"),
    "an anchor within itself": ("a: &a [1, *a]", "used within itself"),
    "a mapping within itself": ("a: &a {b: *a}", "used within itself"),
    "deep lists": ("a: " + "[" * 300 + "]" * 300, "nested too deeply"),
    "very deep lists": ("a: " + "[" * 20_000, "nested too deeply"),
    "a Python object": ("a: !!python/object/apply:os.system ['x']", "tag"),
    "a binary": ("a: !!binary aGVsbG8=", r"tag '!!binary' is not allowed"),
    "a set": ("a: !!set {x, y}", r"tag '!!set' is not allowed"),
    "an own tag": ("a: !thing 3", r"tag '!thing' is not allowed"),
    "a wrong int": ("a: !!int abc", "invalid literal"),
    "a wrong date by tag": ("a: !!timestamp 2023-02-30", "not allowed"),
    "5,000 digits": ("a: " + "9" * 5000, "a number of 5000 digits"),
    "a lone surrogate": ('a: "\\ud800"', "surrogate"),
    "a lone surrogate as a key": ('"\\udfff": 1', "surrogate"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_one_sentence(name: str) -> None:
    text, words = HOSTILE[name]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SpecError, match=words) as caught:
        parse_yaml(text, "evil.yml")
    assert str(caught.value).startswith("evil.yml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    # Generous: what is refused took minutes and gigabytes.
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_what_is_left_is_as_before() -> None:
    text = "a: &x {b: 1}\nc: {<<: *x, d: 2023-02-30}\ne: 1e-5\nf: ~\ng: [yes, 0x10]\n"
    assert parse_yaml(text, "x.yml") == {
        "a": {"b": 1},
        "c": {"b": 1, "d": "2023-02-30"},
        "e": 1e-5,
        "f": None,
        "g": [True, 16],
    }


def test_a_file_of_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yml"
    path.write_bytes(b"# " + bytes(5 << 20))
    with pytest.raises(SpecError, match=r"is 5 MB. Allowed: at most 4 MiB"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("seed=1e26", "seed: must be a whole number"),
        ("seed=100000000000000000000000000", "a number of 27 digits"),
        ("seed=-1", "seed: must be at least 0"),
        (f"trials={'9' * 300}", "a number of 300 digits"),
        ("trials=2000000", "trials: must be at most 1000000"),
        ("train.batch_size=1e20", "batch_size: must be a whole number"),
        ("train.batch_size=100000000000000000000", "a number of 21 digits"),
        ("train.epochs=99999999999", "epochs: must be at most 1000000"),
        ("sampler.seed=4294967296", "sampler.seed: must be below 4294967296"),
        ("prune.steps=99999999999999999", "a number of 17 digits"),
        ("search.seed={choices: [99999999999999999999]}", "digits"),
    ],
    ids=[
        *("float-seed", "huge-seed", "negative-seed", "huge-trials", "many-trials", "float-batch"),
        *("huge-batch", "many-epochs", "sampler-seed", "many-steps", "searched-seed"),
    ],
)
def test_numbers_beyond_any_sense_are_refused(change: str, words: str) -> None:
    values = {"name": "x", "model": {"name": "mlp"}, "data": {"name": "digits"}}
    values["search"] = {"prune.floor": {"low": 1, "high": 2}}
    apply_override(values, change, SweepSpec)
    with pytest.raises(SpecError, match=words):
        parse_spec(SweepSpec, values, "x.yml")


@pytest.mark.parametrize("raw", ["[" * 5000, "!!int x", "9" * 5000, '"\\ud800"', "!!binary x"])
def test_hostile_overrides(raw: str) -> None:
    with pytest.raises(SpecError, match="is not valid YAML"):
        apply_override({}, f"seed={raw}", SweepSpec)
