"""Networks of several outputs or inputs are not taken for an edge device, and it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfprune.core.named import one_input
from rfprune.edge.target import EDGE
from rfprune.errors import NetworkError, SpecError
from rfprune.spec import TrialSpec


def test_several_heads_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    spec = TrialSpec.model_validate(
        {
            "model": {"name": "edge_cnn"},
            "data": {"name": "digits_images"},
            "task": {"heads": {"label": "classification", "odd": "binary"}},
            "edge": {"device": "raspberry_pi_4"},
        }
    )
    with pytest.raises(SpecError, match=r"task\.heads: .* one output alone for an edge device"):
        EDGE.check(spec, tmp_path)


def test_several_inputs_are_refused_by_name() -> None:
    assert one_input((3, 8, 8), "an edge device") == (3, 8, 8)
    with pytest.raises(NetworkError, match=r"the inputs left, right, .* for an edge device"):
        one_input({"left": (4,), "right": (4,)}, "an edge device")
