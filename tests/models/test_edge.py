"""Networks for edge devices: the published ones as published, and what can be changed."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from rfprune.errors import MissingExtraError, NetworkError, SpecError
from rfprune.models import architecture, build, load_checkpoint, save_checkpoint
from rfprune.models.extra_packages import import_package
from rfprune.models.spec import ModelSpec

NAMES = (
    "edge_cnn",
    "efficientnet_lite0",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "squeezenet1_1",
)
needs_extra = pytest.mark.skipif(
    find_spec("timm") is None, reason="timm and torchvision are not installed (extra 'edge')"
)


def made(name, shape=(3, 64, 64), n_classes=10, **args):
    if name != "edge_cnn" and find_spec("timm") is None:
        pytest.skip("timm and torchvision are not installed (extra 'edge')")
    return build(ModelSpec(name=name, args=args), shape, n_classes)


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # The tables of torchvision's and timm's documentation, for 1000 classes.
        ("mobilenet_v3_small", 2_542_856),
        ("mobilenet_v3_large", 5_483_032),
        ("squeezenet1_1", 1_235_496),
        ("efficientnet_lite0", 4_652_008),
    ],
)
def test_they_have_the_published_number_of_parameters(name, parameters):
    assert size(made(name, n_classes=1000)) == parameters


def test_edge_cnn():
    model = made("edge_cnn", channels=[4, 6, 8])
    convs = {n: tuple(m.weight.shape) for n, m in model.named_modules() if hasattr(m, "stride")}
    assert convs == {
        "stem": (4, 3, 3, 3),
        "down1": (6, 4, 3, 3),
        "residual1.conv1": (6, 6, 3, 3),
        "residual1.conv2": (6, 6, 3, 3),
        "down2": (8, 6, 3, 3),
        "residual2.conv1": (8, 8, 3, 3),
        "residual2.conv2": (8, 8, 3, 3),
    }
    x = torch.randn(2, 6, 5, 5)
    inner = model.eval().residual1
    expected = torch.relu(x + inner.bn2(inner.conv2(torch.relu(inner.bn1(inner.conv1(x))))))
    assert torch.equal(inner(x), expected)


@pytest.mark.parametrize("name", NAMES)
def test_they_train_follow_the_seed_and_are_saved(name, tmp_path):
    spec = ModelSpec(
        name=name, args={"stem_stride": 1} | ({} if name == NAMES[0] else {"width": 0.25})
    )
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(made(name, **spec.args))
    first, second = models
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    first(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in first.parameters())
    path = tmp_path / "net.pt"
    save_checkpoint(path, first, spec, (3, 64, 64), 10)
    file = ModelSpec(name=str(path))
    again = build(file, (3, 64, 64), 10).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), first.eval()(x))
    assert architecture(file).name == name
    assert load_checkpoint(path).spec == spec


@pytest.mark.parametrize("name", NAMES)
def test_the_stem_takes_other_images(name):
    stems = {}
    for stride in (1, 2):
        model = made(name, (1, 32, 32), stem_stride=stride)
        sizes = []
        conv = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        conv.register_forward_hook(lambda m, x, y, sizes=sizes: sizes.append(tuple(y.shape[1:])))
        model.eval()(torch.zeros(1, 1, 32, 32))
        assert conv.in_channels == 1
        stems[stride] = sizes[0][1]
    assert stems[1] in (30, 32)
    assert stems[2] in (15, 16)


@pytest.mark.parametrize("name", NAMES[1:])
def test_width_scales_all_layers(name):
    half, whole = made(name, width=0.5), made(name)
    assert 0.2 * size(whole) < size(half) < 0.4 * size(whole)


@pytest.mark.parametrize("name", NAMES[1:])
def test_dropout_acts_in_training_only(name):
    model = made(name, dropout=0.5)
    x = torch.randn(2, 3, 64, 64)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5]
    with torch.no_grad():
        assert torch.equal(model.eval()(x), model(x))


@needs_extra
def test_weights_for_other_classes_are_taken_but_for_the_head(tmp_path):
    source = made("mobilenet_v3_small", n_classes=20)
    path = tmp_path / "imagenet.pth"
    torch.save(source.state_dict(), path)
    spec = ModelSpec(name="mobilenet_v3_small", weights=str(path), new_head=True)
    model = build(spec, (3, 64, 64), 10)
    assert torch.equal(model.features[0][0].weight, source.features[0][0].weight)
    assert torch.equal(model.classifier[0].weight, source.classifier[0].weight)
    assert model.classifier[3].weight.shape == (10, 1024)
    with pytest.raises(NetworkError, match=r"classifier\.3\.weight has shape \(20, 1024\), exp"):
        build(spec.model_copy(update={"new_head": False}), (3, 64, 64), 10)
    with pytest.raises(ValueError, match="'new_head' needs 'weights'"):
        ModelSpec(name="mobilenet_v3_small", new_head=True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"width": 0}, r"model\.args\.width: .* greater than 0"),
        ({"stem_stride": 3}, r"model\.args\.stem_stride: Input should be 1 or 2"),
        ({"widht": 1}, r"has no such argument\. Did you mean 'width'"),
    ],
)
def test_wrong_arguments(args, message):
    with pytest.raises(SpecError, match=message):
        build(ModelSpec(name="mobilenet_v3_small", args=args), (3, 64, 64), 10)


@pytest.mark.parametrize("name", NAMES)
def test_flat_data_are_refused(name):
    with pytest.raises(NetworkError, match=rf"'{name}' takes images \(C, H, W\)"):
        made(name, (64,))


def test_an_absent_package_is_named():
    with pytest.raises(MissingExtraError, match=r"model 'x' needs the package no_such .*\[edge\]"):
        import_package("no_such.part", "x")


@needs_extra
def test_torchvision_imports_beside_any_torch():
    """A process of its own: here it may have been imported already."""
    code = (
        "from rfprune.models.extra_packages import import_package;"
        "print(import_package('torchvision.models', 'x').resnet18.__name__)"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (ran.stdout, ran.stderr) == ("resnet18\n", "")
