"""The SVHN sweep that comes along, on a few made images in the original file format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from rfprune.data import load
from rfprune.data.spec import DataSpec
from rfprune.fpga.groups import build_groups
from rfprune.fpga.hls import convert, read_project
from rfprune.fpga.layers import plan, trace
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.spec import HardwareSpec, PruneSpec, SweepSpec
from rfprune.spec.yaml_files import parse_spec, read_yaml
from rfprune.study.outlook import outlook

SWEEP = Path(__file__).parents[3] / "sweeps" / "svhn.yml"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made images where the downloaded files would lie."""
    monkeypatch.setenv("RFPRUNE_DATA", str(tmp_path))
    (tmp_path / "svhn").mkdir()
    rng = np.random.default_rng(0)
    for name, rows in (("train", 60), ("test", 20)):
        pixels = rng.integers(0, 256, (32, 32, 3, rows), dtype=np.uint8)
        digits = (1 + np.arange(rows) % 10).astype(np.uint8)[:, None]  # 10 stands for 0
        savemat(tmp_path / "svhn" / f"{name}_32x32.mat", {"X": pixels, "y": digits})


@pytest.mark.usefixtures("images")
def test_the_sweep_searches_the_papers_reuse_factors() -> None:
    found = outlook(parse_spec(SweepSpec, read_yaml(SWEEP), str(SWEEP)), SWEEP.parent)
    assert [row["name"] for row in found.layers.rows] == [
        "conv1",
        "conv2",
        "conv3",
        "fc1",
        "fc2",
        "output",
    ]
    assert {row.path: row.values for row in found.parameters}[
        "hardware.layers.conv1.reuse_factor"
    ] == "3 9 27"
    assert found.notes == []


@pytest.mark.slow
@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("reuse_factor", [3, 9, 27])
def test_the_network_prunes_in_io_stream(reuse_factor: int, tmp_path: Path) -> None:
    data = load(DataSpec(name="svhn", val_fraction=0.2))
    torch.manual_seed(0)
    model = build(ModelSpec(name="svhn_cnn"), data.input_shape, data.n_outputs)
    with torch.no_grad():
        model(data.x_train)
    factors = {"conv1": reuse_factor, "fc1": 24, "fc2": 21, "output": 16}
    hardware = {
        "io_type": "io_stream",
        "reuse_factor": min(reuse_factor, 9),
        "layers": {name: {"reuse_factor": rf} for name, rf in factors.items()},
    }
    planned = plan(trace(model, data.input_shape), HardwareSpec.model_validate(hardware))
    groups = build_groups(planned, PruneSpec())
    keep = np.random.default_rng(0).random(len(groups)) < 0.3
    masks = groups.masks(keep)
    for layer in groups.layers:
        layer.weight_of(model).data.mul_(masks[layer.plan.name])
    conversion = convert(model.eval(), planned, tmp_path / "hls")
    conversion.write()
    code = {layer.name: layer for layer in read_project(tmp_path / "hls")}
    assert {name: layer.live_multipliers for name, layer in code.items()} == groups.live(model)
    assert {name: layer.multiplier_limit for name, layer in code.items()} == groups.live(model)
