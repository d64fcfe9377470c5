"""Augmentation: shifted and mirrored copies, nothing else, the same for the same seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rfprune.errors import SpecError
from rfprune.spec import TrainSpec
from rfprune.spec.training import AugmentSpec
from rfprune.training import Fit, fit
from rfprune.training.augment import Augmentation


def numbered(n: int, height: int, width: int) -> torch.Tensor:
    """Return (n, 1, height, width) whose values tell where they come from."""
    return torch.arange(n * height * width, dtype=torch.float32).reshape(n, 1, height, width)


def variants(image: torch.Tensor, padding: int, flip: bool) -> list[torch.Tensor]:
    """All crops of the padded image and, with `flip`, their mirror images: the plain way."""
    height, width = image.shape[-2:]
    wide = nn.functional.pad(image[None], [padding] * 4, mode="replicate")[0]
    crops = [
        wide[:, top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return crops + ([crop.flip(-1) for crop in crops] if flip else [])


@given(
    n=st.integers(1, 6),
    height=st.integers(2, 5),
    width=st.integers(2, 5),
    padding=st.integers(0, 2),
    flip=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_image_is_a_crop_of_itself(
    n: int, height: int, width: int, padding: int, flip: bool, seed: int
) -> None:
    x = numbered(n, height, width)
    found = Augmentation(AugmentSpec(crop_padding=padding, flip=flip), seed)(x)
    for image, original in zip(found, x, strict=True):
        assert any(torch.equal(image, v) for v in variants(original, padding, flip))


def test_all_shifts_and_both_mirrors_are_drawn() -> None:
    x = numbered(1, 3, 3).expand(400, 1, 3, 3)
    found = Augmentation(AugmentSpec(crop_padding=1, flip=True), 0)(x)
    assert len({tuple(image.flatten().tolist()) for image in found}) == 18
    again = Augmentation(AugmentSpec(crop_padding=1, flip=True), 0)
    assert torch.equal(again(x), found)
    assert not torch.equal(again(x), found), "every batch is drawn anew"


def test_training_uses_it() -> None:
    x, y = torch.rand(24, 1, 4, 4), torch.arange(24) % 3

    def trained(augment: dict[str, object] | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        train = TrainSpec.model_validate({"batch_size": 8, "augment": augment})
        fit(model, x, y, Fit(2, 1e-2, train, seed=1))
        return model[1].weight.detach()

    plain = trained(None)
    assert torch.equal(trained({"crop_padding": 0, "flip": False}), plain)
    moved = trained({"crop_padding": 2, "flip": True})
    assert not torch.equal(moved, plain)
    assert torch.equal(trained({"crop_padding": 2, "flip": True}), moved)


def test_flat_rows_are_refused() -> None:
    augment = Augmentation(AugmentSpec(flip=True), 0)
    with pytest.raises(SpecError, match=r"train\.augment: is for images .* shape \(8,\)"):
        augment(torch.zeros(3, 8))
