import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfprune.core.arrays import FloatArray
from rfprune.edge.monitor import input_statistics, statistic_names
from rfprune.errors import DataError


def picture(noise: float = 0.0, light: float = 1.0, rows: int = 8) -> torch.Tensor:
    """Return (rows, 1, 64, 64): smooth shapes, with white noise."""
    generator = torch.Generator().manual_seed(0)
    phase = torch.rand(rows, 1, 1, 1, generator=generator) * 6
    ramp = torch.linspace(0, 1, 64)
    smooth = 0.5 + 0.3 * torch.sin(3 * ramp[:, None] + 2 * ramp[None, :] + phase)
    return light * smooth + noise * torch.randn(rows, 1, 64, 64, generator=generator)


def column(name: str, batch: torch.Tensor) -> FloatArray:
    found = input_statistics(batch)
    return found.values[:, found.names.index(name)]


@given(st.floats(0.02, 0.5))
def test_noise_is_the_standard_deviation_of_the_noise(noise: float) -> None:
    assert float(column("noise", picture(noise, rows=100)).mean()) == pytest.approx(noise, rel=0.05)


def test_a_clean_picture_has_no_noise() -> None:
    assert float(column("noise", picture()).max()) < 0.001


def test_noise_is_that_of_the_mask_in_the_paper() -> None:
    grey = picture(0.1)[:, :, ::2, ::2]
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    filtered = torch.nn.functional.conv2d(grey, mask).abs().mean(dim=(1, 2, 3))
    expected = filtered * math.sqrt(math.pi / 2) / 6
    assert np.allclose(column("noise", picture(0.1)), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_they_are_those_of_torch_on_a_grey_image_of_half_the_resolution(dtype: torch.dtype) -> None:
    colours = torch.rand(6, 3, 12, 17, generator=torch.Generator().manual_seed(0)).to(dtype)
    grey = colours[:, :, ::2, ::2].double().mean(dim=1)
    variance, mean = torch.var_mean(grey, dim=(1, 2), correction=0)
    edges = grey.diff(dim=2).square().mean(dim=(1, 2))
    for name, expected in {"mean": mean, "variance": variance, "edge_energy": edges}.items():
        assert np.allclose(column(name, colours), expected.numpy(), rtol=1e-5)


def test_a_bright_picture_keeps_the_digits_of_its_variance() -> None:
    bright = column("variance", picture() + 100)
    assert np.allclose(bright, column("variance", picture()), rtol=1e-3)


def test_the_dark_lowers_mean_and_contrast() -> None:
    day, night = picture(), picture(light=0.2)
    assert np.allclose(column("mean", night), 0.2 * column("mean", day))
    assert np.allclose(column("variance", night), 0.04 * column("variance", day))


def test_blur_lowers_the_energy_of_edges() -> None:
    sharp = (picture() > 0.5).float()
    blurred = torch.nn.functional.avg_pool2d(sharp, 9, 1, 4)
    assert (column("edge_energy", blurred) < column("edge_energy", sharp)).all()


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))
def test_every_batch_has_its_statistics(rows: int, channels: int, height: int, width: int) -> None:
    batch = torch.rand(rows, channels, height, width)
    found = input_statistics(batch)
    assert found.names == statistic_names((channels, height, width))
    assert found.values.shape == (rows, len(found.names))
    assert np.isfinite(found.values).all()
    assert np.allclose(found.mean, found.values.mean(axis=0))


def test_samples_without_an_image_have_mean_and_variance() -> None:
    batch = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    found = input_statistics(batch)
    assert found.names == ("mean", "variance")
    assert found.values.tolist() == [[2.0, 1.0], [2.0, 0.0]]


def test_an_empty_batch_is_a_sentence() -> None:
    with pytest.raises(DataError, match=r"shape \(0, 3\). Allowed: \(B, ...\) with B >= 1"):
        input_statistics(torch.zeros(0, 3))
