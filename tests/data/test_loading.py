"""Splits, layout and scaling."""

import dataclasses
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from rfprune.data import load
from rfprune.data.sets.image_sets import digits
from rfprune.data.spec import DataSpec
from rfprune.errors import DataError


@pytest.fixture
def numbered(tmp_path):
    """A file of 1000 + 300 rows whose first feature is the number of the row."""
    rng = np.random.default_rng(0)
    path = tmp_path / "numbered.npz"
    x = rng.normal(3.0, 5.0, (1300, 4)).astype(np.float32)
    x[:, 0] = np.arange(1300)
    y = np.arange(1300) % 3
    np.savez(path, x_train=x[:1000], y_train=y[:1000], x_test=x[1000:], y_test=y[1000:])
    return path


def load_rows(path, **settings):
    """Load without scaling and return the row numbers of each part."""
    data = load(DataSpec(file=str(path), standardize=False, **settings))
    parts = {"train": data.x_train, "val": data.x_val, "test": data.x_test}
    return {name: x[:, 0].long().tolist() for name, x in parts.items()}


def test_parts_are_disjoint_and_complete(numbered):
    rows = load_rows(numbered)
    assert {name: len(part) for name, part in rows.items()} == {
        "train": 850,
        "val": 150,
        "test": 300,
    }
    assert sorted(rows["train"] + rows["val"]) == list(range(1000))
    assert rows["test"] == list(range(1000, 1300))


def test_splits_follow_the_seed_alone(numbered):
    assert load_rows(numbered) == load_rows(numbered)
    assert load_rows(numbered, split_seed=1)["val"] != load_rows(numbered)["val"]
    torch.manual_seed(5)
    assert load_rows(numbered) == load_rows(numbered, split_seed=0)


def test_split_is_the_documented_permutation(numbered):
    order = np.random.RandomState(7).permutation(1000)
    rows = load_rows(numbered, split_seed=7, train_rows=400, val_fraction=0.25)
    assert rows["val"] == order[:100].tolist()
    assert rows["train"] == order[100:400].tolist()
    assert rows["test"] == list(range(1000, 1300))


def test_row_limits(numbered):
    rows = load_rows(numbered, train_rows=100, test_rows=20)
    assert [len(rows[part]) for part in ("train", "val", "test")] == [85, 15, 20]
    assert len(set(rows["test"])) == 20
    assert set(rows["test"]) <= set(range(1000, 1300))
    assert load_rows(numbered, train_rows=10**6, test_rows=10**6) == load_rows(numbered)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(60, 200),
    seed=st.integers(0, 2**32 - 1),
    val=st.floats(0.05, 0.5),
    test=st.floats(0.05, 0.4),
)
def test_data_without_a_test_part_are_cut_in_three(tmp_path_factory, n, seed, val, test):
    path = tmp_path_factory.mktemp("cut") / "one.npz"
    x = np.arange(n, dtype=np.float32)[:, None]
    np.savez(path, x_train=x, y_train=np.zeros(n, int) + (np.arange(n) >= n // 2))
    rows = load_rows(path, split_seed=seed, val_fraction=val, test_fraction=test)
    assert sorted(chain(*rows.values())) == list(range(n))
    assert len(rows["test"]) == round(n * test)
    assert len(rows["val"]) == round((n - len(rows["test"])) * val)


def test_a_test_fraction_beside_a_test_part_is_refused(numbered):
    with pytest.raises(DataError, match=r"data\.test_fraction: .* own test part of 300 rows"):
        load(DataSpec(file=str(numbered), test_fraction=0.2))


def test_standardisation_uses_training_rows_only(numbered):
    data = load(DataSpec(file=str(numbered)))
    assert torch.allclose(data.x_train.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(data.x_train.std(0, unbiased=False), torch.ones(4), atol=1e-5)
    raw = load(DataSpec(file=str(numbered), standardize=False))
    for part in ("x_train", "x_val", "x_test"):
        expected = (getattr(raw, part) - data.offset) / data.scale
        assert torch.equal(getattr(data, part), expected)
    with np.load(numbered) as arrays:
        changed = dict(arrays)
    changed["x_test"] = changed["x_test"] * 100
    np.savez(numbered, **changed)
    again = load(DataSpec(file=str(numbered)))
    assert torch.equal(again.x_train, data.x_train)
    assert torch.equal(again.offset, data.offset)


def test_a_constant_feature_is_only_centred(tmp_path):
    x = np.full((40, 2), 0.1, np.float32)
    x[:, 1] = np.arange(40)
    np.savez(tmp_path / "c.npz", x_train=x, y_train=np.arange(40) % 2)
    data = load(DataSpec(file="c.npz"), base_dir=tmp_path)
    assert data.scale[0] == 1.0
    assert data.x_train[:, 0].abs().max() < 1e-6


def test_digits_are_embedded():
    data = load(DataSpec(name="digits"))
    assert data.rows == {"train": 1222, "val": 216, "test": 359}
    assert data.input_shape == (64,)
    assert data.n_outputs == 10
    assert data.class_names == tuple("0123456789")
    assert data.x_train.dtype == torch.float32
    assert data.y_train.dtype == torch.int64
    assert (float(data.x_train.min()), float(data.x_train.max())) == (0.0, 1.0)
    assert data.scale.unique().tolist() == [16.0]
    images = load(DataSpec(name="digits_images"))
    assert images.input_shape == (1, 8, 8)
    assert torch.equal(images.x_val.flatten(1), data.x_val)
    assert torch.equal(load(DataSpec(name="digits_images", flatten=True)).x_train, data.x_train)


def test_digits_are_those_of_scikit_learn():
    ours, theirs = digits(), load_digits()
    assert np.array_equal(ours.x_train, theirs.data)
    assert np.array_equal(ours.y_train, theirs.target)


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((5, 7), "auto", (1, 5, 7)),
        ((5, 7, 3), "auto", (3, 5, 7)),
        ((3, 5, 7), "auto", (3, 5, 7)),
        ((3, 5, 4), "last", (4, 3, 5)),
        ((6, 5, 7), "first", (6, 5, 7)),
    ],
)
def test_images_of_bytes_become_channels_first(tmp_path, shape, channels, expected):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (40, *shape), dtype=np.uint8)
    x[:, 0, 0] = 255
    np.savez(tmp_path / "i.npz", x_train=x, y_train=np.arange(40) % 2)
    data = load(DataSpec(file="i.npz", channels=channels), base_dir=tmp_path)
    assert data.input_shape == expected
    order = np.random.RandomState(0).permutation(40)[8:]
    row = x[order[5]].astype(np.float32) / 255
    if channels == "last" or expected != shape:
        row = row[None] if row.ndim == 2 else row.transpose(2, 0, 1)
    assert np.array_equal(data.x_train[0].numpy(), row)
    flat = load(DataSpec(file="i.npz", channels=channels, flatten=True), base_dir=tmp_path)
    assert torch.equal(flat.x_train, data.x_train.flatten(1))


def test_float_sequences_keep_their_shape_and_scale_per_channel(tmp_path):
    x = np.random.default_rng(2).normal(4, 2, (60, 3, 9)).astype(np.float32)
    np.savez(tmp_path / "s.npz", x_train=x, y_train=np.arange(60) % 2)
    data = load(DataSpec(file="s.npz"), base_dir=tmp_path)
    assert data.input_shape == (3, 9)
    assert data.offset.shape == (3, 1)
    assert torch.allclose(data.x_train.mean((0, 2)), torch.zeros(3), atol=1e-5)
    images = load(DataSpec(file="s.npz", channels="none"), base_dir=tmp_path)
    assert images.input_shape == (1, 3, 9)
    assert images.offset.tolist() == [[[0.0]]]


def test_a_layout_that_does_not_fit_is_refused(numbered):
    with pytest.raises(DataError, match=r"data\.channels: 'last' does not fit .*\(1000, 4\)"):
        load(DataSpec(file=str(numbered), channels="last"))


def test_hash_changes_with_data_and_settings_not_with_the_place(numbered, tmp_path):
    first = load(DataSpec(file=str(numbered)))
    copy = tmp_path / "copy.npz"
    copy.write_bytes(numbered.read_bytes())
    assert load(DataSpec(file=str(copy))).sha256 == first.sha256
    assert load(DataSpec(file=str(numbered), split_seed=1)).sha256 != first.sha256
    with np.load(numbered) as arrays:
        changed = dict(arrays)
    changed["x_test"][0, 0] += 1
    np.savez(copy, **changed)
    assert load(DataSpec(file=str(copy))).sha256 != first.sha256


def test_a_data_set_is_frozen(numbered):
    data = load(DataSpec(file=str(numbered)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.n_outputs = 4


def test_too_few_rows_for_the_split(tmp_path):
    np.savez(tmp_path / "t.npz", x_train=np.eye(4), y_train=np.arange(4) % 2)
    with pytest.raises(DataError, match="leaves no validation rows of 4"):
        load(DataSpec(file="t.npz"), base_dir=tmp_path)
    np.savez(tmp_path / "u.npz", x_train=np.eye(30), y_train=np.arange(30))
    with pytest.raises(DataError, match="training rows has class"):
        load(DataSpec(file="u.npz"), base_dir=tmp_path)
