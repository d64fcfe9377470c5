"""The published JSON schemas are those of the code, and say what a file may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


@pytest.mark.parametrize("kind", ["sweep", "trial", "design"])
def test_the_published_schema_is_current(run, kind: str) -> None:
    ran = run("schema", kind)
    assert ran.code == 0
    published = SCHEMAS / f"{kind}.schema.json"
    assert ran.out == published.read_text(), f"write it again: rfprune schema {kind} > {published}"


def test_the_schema_of_a_sweep(run) -> None:
    schema = run("schema").json
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"model", "data", "search"}
    assert {"hardware", "train", "prune", "objectives", "trials"} <= set(schema["properties"])
    for name, section in schema["$defs"].items():
        if section.get("type") == "object":
            assert section["additionalProperties"] is False, name


def test_every_reference_in_a_schema_leads_somewhere() -> None:
    for path in SCHEMAS.glob("*.json"):
        text = path.read_text()
        known = json.loads(text)["$defs"]
        names = [part.split('"')[0] for part in text.split("#/$defs/")[1:]]
        assert names
        assert set(names) <= set(known)
