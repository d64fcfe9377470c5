"""Why other backends are refused: what hls4ml builds when asked for resource_unrolled."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from rfprune.fpga.hls.convert import quiet


def converted(backend: str, folder: Path) -> Any:
    import hls4ml

    model = nn.Sequential(nn.Linear(8, 8))
    with quiet():
        config = hls4ml.utils.config_from_pytorch_model(
            model, (None, 8), granularity="name", backend=backend, default_reuse_factor=4
        )
        config["LayerName"]["_0"]["Strategy"] = "ResourceUnrolled"
        graph = hls4ml.converters.convert_from_pytorch_model(
            model, hls_config=config, backend=backend, output_dir=str(folder)
        )
    return graph.graph["_0"].get_attr("strategy")


@pytest.mark.parametrize(
    ("backend", "built"),
    [
        ("Vitis", "resource_unrolled"),
        ("Vivado", "resource_unrolled"),
        ("Quartus", "resource"),
        ("oneAPI", "resource"),
        ("Catapult", "latency"),
    ],
)
def test_only_vitis_and_vivado_leave_zero_groups_out(
    backend: str, built: str, tmp_path: Path
) -> None:
    assert converted(backend, tmp_path) == built


def test_vivado_accelerator_stops(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Unexpected backend VivadoAccelerator"):
        converted("VivadoAccelerator", tmp_path)
