"""A backend in which pruned groups stay is refused with its reason."""

import pytest

from rfprune.errors import SpecError
from rfprune.spec import TrialSpec
from rfprune.spec.yaml_files import parse_spec


def trial(backend: str) -> TrialSpec:
    values = {
        "model": {"name": "mlp"},
        "data": {"name": "digits"},
        "hardware": {"backend": backend},
    }
    return parse_spec(TrialSpec, values, "t.yml")


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("Quartus", "builds strategy resource"),
        ("oneAPI", "builds strategy resource"),
        ("oneapi", "builds strategy resource"),
        ("Catapult", "silently builds latency"),
        ("VivadoAccelerator", "Unexpected backend"),
        ("Libero", "Microchip's tools"),
    ],
)
def test_backends_that_keep_pruned_groups(backend: str, reason: str) -> None:
    told = rf"t\.yml: hardware\.backend: .* cannot drop pruned groups: .*{reason}.* Allowed: Vitis"
    with pytest.raises(SpecError, match=told):
        trial(backend)


def test_backends_that_drop_them() -> None:
    assert trial("Vivado").hardware.backend == "Vivado"
    with pytest.raises(SpecError, match="Did you mean 'Vitis'"):
        trial("Vitiss")
