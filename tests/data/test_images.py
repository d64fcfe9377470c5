"""Image files: decoded once, cached, cut to size; classes chosen; bytes read as float32."""

import io
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rfprune.data import Pixels, load
from rfprune.data.spec import DataSpec
from rfprune.errors import DataError
from rfprune.models import build
from rfprune.models.spec import ModelSpec
from rfprune.spec import TrainSpec
from rfprune.training import Fit, evaluate, fit

COLOURS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}


def jpeg(colour, size=(16, 16), number=0, mode="RGB"):
    """Return the bytes of an image of one colour, told from others by a brighter corner."""
    image = Image.new("RGB", size, colour)
    image.paste((250 - number, 250, 250), (0, 0, 4, 4))
    out = io.BytesIO()
    image.convert(mode).save(out, "JPEG", quality=95)
    return out.getvalue()


def write_folder(root, n_train=6, n_val=2, size=(16, 16)):
    for part, n in (("train", n_train), ("val", n_val)):
        for name, colour in COLOURS.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                (folder / f"{i}.JPEG").write_bytes(jpeg(colour, size, i))
    return root


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pictures")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rfprune" / "decoded"


def colours(x, y):
    """Return the class of each row as the brightest channel of its last pixel says."""
    order = torch.tensor([2, 1, 0])  # blue, green, red: as the folders are sorted
    return bool((order[x[:, :, -1, -1].argmax(dim=1)] == y).all())


def test_a_folder_of_images(folder):
    data = load(DataSpec(file=str(folder), val_fraction=0.2))
    assert data.rows == {"train": 14, "val": 4, "test": 6}
    assert (data.input_shape, data.class_names) == ((3, 16, 16), ("blue", "green", "red"))
    assert isinstance(data.x_train, Pixels)
    assert data.x_train.bytes.dtype == torch.uint8
    x = data.x_train[:]
    assert x.dtype == torch.float32
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    assert colours(x, data.y_train)
    assert colours(data.x_test[:], data.y_test)
    with Image.open(folder / "val" / "blue" / "0.JPEG") as image:
        expected = np.asarray(image).transpose(2, 0, 1)
    row = int((data.y_test == 0).nonzero()[0])
    assert np.array_equal(data.x_test.bytes[row].numpy(), expected)


def test_decoded_images_are_kept_and_used_again(folder, cache, monkeypatch):
    first = load(DataSpec(file=str(folder)))
    files = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len([name for name in files if name.endswith(".npy")]) == 2
    monkeypatch.setattr("rfprune.data.sets.images._pixels", None)  # nothing is decoded any more
    again = load(DataSpec(file=str(folder)))
    assert torch.equal(again.x_train[:], first.x_train[:])
    assert again.sha256 == first.sha256
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == files


def test_changed_and_damaged_files_are_decoded_again(folder, cache):
    first = load(DataSpec(file=str(folder)))
    image = folder / "val" / "red" / "1.JPEG"
    image.write_bytes(jpeg((10, 20, 30), number=9))
    second = load(DataSpec(file=str(folder)))
    assert second.sha256 != first.sha256
    assert not torch.equal(second.x_test[:], first.x_test[:])
    for path in cache.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:-100])
    third = load(DataSpec(file=str(folder)))
    assert torch.equal(third.x_test[:], second.x_test[:])
    assert third.sha256 == second.sha256


def test_images_are_brought_to_one_size(folder):
    (folder / "train" / "red" / "wide.png").write_bytes(b"")
    Image.new("RGB", (40, 20), COLOURS["red"]).save(folder / "train" / "red" / "wide.png")
    with pytest.raises(DataError, match=r"wide\.png: 40 x 20 pixels, others have 16 x 16; set dat"):
        load(DataSpec(file=str(folder)))
    data = load(DataSpec(file=str(folder), image_size=12))
    assert data.input_shape == (3, 12, 12)
    assert colours(data.x_train[:], data.y_train)


def test_the_short_side_is_resized_before_the_middle_is_cut_out(tmp_path):
    root = write_folder(tmp_path / "wide", size=(64, 32))
    path = root / "val" / "blue" / "0.JPEG"
    stripes = Image.new("RGB", (64, 32), (255, 255, 255))
    stripes.paste((0, 0, 0), (16, 0, 48, 32))
    stripes.save(path, quality=100)
    data = load(DataSpec(file=str(root), image_size=16, resize=16, test_rows=6))
    row = int((data.y_test == 0).nonzero()[0])
    # Halved to 32 x 16 pixels; the middle 16 are the black part.
    assert data.x_test[:][data.y_test == 0].min(dim=0).values.max() < 0.2
    assert data.x_test.shape[1:] == (3, 16, 16)
    larger = load(DataSpec(file=str(root), image_size=16, resize=32))
    assert larger.x_test.bytes[row].shape == (3, 16, 16)


def test_grey_images_get_three_channels(folder):
    path = folder / "train" / "red" / "0.JPEG"
    path.write_bytes(jpeg((9, 9, 9), mode="L"))
    assert load(DataSpec(file=str(folder))).input_shape == (3, 16, 16)


def test_faults_of_a_folder(folder, tmp_path):
    broken = folder / "train" / "red" / "3.JPEG"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=r"red/3\.JPEG: not a readable image"):
        load(DataSpec(file=str(folder)))
    (folder / "val" / "reed").mkdir()
    with pytest.raises(DataError, match=r"the class 'reed' is not in train/\. Did you mean 'red'"):
        load(DataSpec(file=str(folder)))
    (tmp_path / "empty" / "train" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty/train: contains no image. Looked for: \.jpeg"):
        load(DataSpec(file=str(tmp_path / "empty")))
    (tmp_path / "bare" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"bare/train: has no folders"):
        load(DataSpec(file=str(tmp_path / "bare")))
    with pytest.raises(DataError, match=r"is a folder of images and has no columns"):
        load(DataSpec(file=str(folder), label_column="y"))


def test_a_cache_that_cannot_be_written_is_named(folder, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written .*XDG_CACHE_HOME may name another"):
        load(DataSpec(file=str(folder)))


def test_a_folder_without_a_test_part_is_cut(folder):
    os.rename(folder / "val", folder / "unused")
    data = load(DataSpec(file=str(folder), test_fraction=0.5, val_fraction=0.3))
    assert data.rows == {"train": 6, "val": 3, "test": 9}


@pytest.mark.parametrize("classes", [2, [2, 0]])
def test_some_classes_of_a_folder(folder, classes):
    data = load(DataSpec(file=str(folder), classes=classes))
    names = ["blue", "green", "red"]
    chosen = names[:2] if classes == 2 else [names[i] for i in classes]
    assert data.class_names == tuple(chosen)
    assert data.n_outputs == 2
    assert sum(data.rows.values()) == 16
    last = data.x_test[:][:, :, -1, -1].argmax(dim=1)
    brightest = {"blue": 2, "green": 1, "red": 0}
    assert last.tolist() == [brightest[chosen[label]] for label in data.y_test.tolist()]


def test_some_classes_of_arrays():
    data = load(DataSpec(name="digits", classes=[7, 3, 5]))
    assert data.class_names == ("7", "3", "5")
    whole = load(DataSpec(name="digits"))
    found = {tuple(row.tolist()) for row in data.x_train[data.y_train == 0]}
    sevens = torch.cat([whole.x_train, whole.x_val, whole.x_test])
    labels = torch.cat([whole.y_train, whole.y_val, whole.y_test])
    assert found <= {tuple(row.tolist()) for row in sevens[labels == 7]}
    assert load(DataSpec(name="digits", classes=4)).n_outputs == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 11}, r"data\.classes: 11, but digits has only 10 classes"),
        ({"classes": [3, 10]}, r"data\.classes: 10 is not a class of digits; allowed are 0 to 9"),
        ({"image_size": 8}, r"data\.image_size: digits holds arrays, not image files"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(DataError, match=message):
        load(DataSpec(name="digits", **settings))


def write_tiny_imagenet(root):
    """The layout of Stanford's archive: three classes, not in alphabetical order."""
    ids = {"n03": "red", "n01": "blue", "n02": "green"}
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(ids))
    (root / "words.txt").write_text("n01\tsky\nn02\tgrass\nn03\trose, flower\n")
    lines = []
    for wnid, colour in ids.items():
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("boxes")
        for i in range(5):
            (images / f"{wnid}_{i}.JPEG").write_bytes(jpeg(COLOURS[colour], number=i))
        (root / "val" / "images" / f"val_{wnid}.JPEG").write_bytes(jpeg(COLOURS[colour]))
        lines.append(f"val_{wnid}.JPEG\t{wnid}\t0\t0\t9\t9")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")


def pack(root, folder):
    """The same images as JPEG bytes in two .npz files."""
    ids = (root / "wnids.txt").read_text().split()
    folder.mkdir()
    for part in ("train", "val"):
        contents, labels = [], []
        for number, wnid in enumerate(ids):
            at = root / part / wnid / "images" if part == "train" else root / part / "images"
            for path in sorted(at.glob("*.JPEG" if part == "train" else f"*{wnid}.JPEG")):
                contents.append(path.read_bytes())
                labels.append(number)
        np.savez_compressed(
            folder / f"tiny_imagenet_{part}_jpeg.npz",
            jpeg=np.frombuffer(b"".join(contents), np.uint8),
            offsets=np.cumsum([0, *map(len, contents)]),
            label=np.array(labels, np.int16),
        )
    lines = [f"{i}\t{wnid}\tname {i}" for i, wnid in enumerate(ids)]
    (folder / "classes.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("RFPRUNE_DATA", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def test_tiny_imagenet_in_both_forms(store, tmp_path):
    write_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    pack(tmp_path / "tiny-imagenet-200", store / "tiny_imagenet")
    packed = load(DataSpec(name="tiny_imagenet"))
    assert packed.class_names == ("name 0", "name 1", "name 2")
    for path in (store / "tiny_imagenet").iterdir():
        path.unlink()
    (tmp_path / "tiny-imagenet-200").rename(store / "tiny_imagenet" / "tiny-imagenet-200")
    unpacked = load(DataSpec(name="tiny_imagenet"))
    assert unpacked.class_names == ("rose, flower", "sky", "grass")
    by_file = load(DataSpec(file="tiny_imagenet/tiny-imagenet-200"))
    for data in (unpacked, by_file):
        assert data.sha256 == packed.sha256
        assert torch.equal(data.x_train[:], packed.x_train[:])
        assert torch.equal(data.y_test, packed.y_test)


def test_without_tiny_imagenet_the_error_says_what_to_put_where(store):
    with pytest.raises(
        DataError,
        match=r"'tiny_imagenet' is not in .*store/tiny_imagenet, .*Unpack http://cs231n\.stanford"
        r"\.edu/tiny-imagenet-200\.zip .* so that .*/tiny-imagenet-200/wnids\.txt exists",
    ):
        load(DataSpec(name="tiny_imagenet"))


def test_damaged_packed_files(store, tmp_path):
    write_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    folder = store / "tiny_imagenet"
    pack(tmp_path / "tiny-imagenet-200", folder)
    path = folder / "tiny_imagenet_val_jpeg.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    for change, message in (
        ({"offsets": arrays["offsets"][:-1]}, r"3 offsets for 3 labels"),
        ({"jpeg": arrays["jpeg"][:-9]}, r"the offsets end at \d+, but 'jpeg' has \d+ bytes"),
    ):
        np.savez(path, **{**arrays, **change})
        with pytest.raises(DataError, match=message):
            load(DataSpec(name="tiny_imagenet"))
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"not a readable \.npz archive with jpeg"):
        load(DataSpec(name="tiny_imagenet"))


def test_bytes_are_standardised_like_floats(folder):
    for flatten in (False, True):
        settings = {"flatten": flatten, "standardize": True, "val_fraction": 0.2}
        data = load(DataSpec(file=str(folder), **settings))
        raw = load(DataSpec(file=str(folder), val_fraction=0.2))
        train = raw.x_train.bytes.float()
        train = train.flatten(1) if flatten else train
        axes = 0 if flatten else (0, 2, 3)
        scale = train.std(axes, unbiased=False).reshape(data.scale.shape)
        assert torch.allclose(data.offset, train.mean(axes).reshape(data.offset.shape), atol=1e-3)
        assert torch.allclose(data.scale, torch.where(scale > 0, scale, 255.0), atol=1e-3)
        x = data.x_train[:]
        assert float(x.mean().abs()) < 1e-4


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**31))
def test_pixels_are_what_the_floats_would_be(n, part, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(256, (n, 2, 3, 3), generator=generator).to(torch.uint8)
    offset, scale = torch.tensor([[[10.0]], [[20.0]]]), torch.tensor([[[2.0]], [[255.0]]])
    pixels = Pixels(values, offset, scale)
    floats = (values.float() - offset) / scale
    assert len(pixels) == n
    assert pixels.shape == floats.shape
    index = torch.randint(n, (5,), generator=generator)
    assert torch.equal(pixels[index], floats[index])
    assert torch.equal(pixels.index_select(0, index), floats.index_select(0, index))
    assert torch.equal(pixels[1:], floats[1:])
    assert torch.equal(torch.cat(list(pixels.split(part))), floats)
    assert torch.equal(pixels.to(torch.device("cpu"))[:], floats)


def test_a_network_trains_on_bytes(folder):
    data = load(DataSpec(file=str(folder), val_fraction=0.2))
    torch.manual_seed(0)
    spec = ModelSpec(name="edge_cnn", args={"channels": [4, 4]})
    model = build(spec, data.input_shape, data.n_outputs)
    train = TrainSpec.model_validate({"batch_size": 7, "augment": {"crop_padding": 2}})
    fit(model, data.x_train, data.y_train, Fit(30, 1e-2, train, seed=0))
    assert evaluate(model, data.x_test, data.y_test) == 1.0


def test_the_real_tiny_imagenet(data_root, cache):
    data_root("tiny_imagenet/tiny_imagenet_val_jpeg.npz")
    data = load(DataSpec(name="tiny_imagenet", classes=2))
    assert data.rows == {"train": 510, "val": 90, "test": 100}
    assert data.class_names == ("Egyptian cat", "reel")
    assert data.input_shape == (3, 64, 64)
    # The known mean of all training pixels is 0.4802, 0.4481, 0.3975; two classes come near it.
    mean = torch.cat([data.x_train[:], data.x_val[:]]).mean(dim=(0, 2, 3))
    assert torch.allclose(mean, torch.tensor([0.5, 0.46, 0.42]), atol=0.08)
