"""The named networks: exact shapes, exact counts, and only layers that hls4ml takes."""

import pytest
import torch
from torch import fx, nn

from rfprune.errors import NetworkError, SpecError
from rfprune.models import MODELS, build
from rfprune.models.spec import ModelSpec

CASES = {
    "cnn": (1, 8, 8),
    "lenet": (1, 28, 28),
    "mlp": (16,),
    "svhn_cnn": (3, 32, 32),
}


def made(name, input_shape=None, n_classes=10, **args):
    return build(ModelSpec(name=name, args=args), input_shape or CASES[name], n_classes)


def kernels(model):
    """Name and number of weights of each layer that multiplies."""
    layers = (nn.Linear, nn.Conv2d)
    return {n: m.weight.numel() for n, m in model.named_children() if isinstance(m, layers)}


def test_every_network_has_a_case():
    edge = {
        name for name in MODELS if MODELS[name].target.startswith("rfprune.models.image_networks:")
    }
    assert set(MODELS) == set(CASES) | edge


def test_mlp_is_the_jet_tagger():
    model = made("mlp", n_classes=5)
    assert kernels(model) == {"fc1": 1024, "fc2": 2048, "fc3": 1024, "output": 160}
    assert sum(kernels(model).values()) == 4256
    shapes = [tuple(model.get_submodule(name).weight.shape) for name in kernels(model)]
    assert shapes == [(64, 16), (32, 64), (32, 32), (5, 32)]
    assert [name for name, _ in model.named_children()] == [
        "fc1",
        "fc1_relu",
        "fc2",
        "fc2_relu",
        "fc3",
        "fc3_relu",
        "output",
    ]


def test_mlp_arguments():
    model = made("mlp", hidden=[7], batch_norm=True)
    assert [type(layer).__name__ for layer in model] == [
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
    ]
    assert model.fc1.bias is None
    assert kernels(made("mlp", hidden=[])) == {"output": 160}


def test_lenet_is_lenet5():
    model = made("lenet")
    assert kernels(model) == {
        "conv1": 150,
        "conv2": 2400,
        "fc1": 48000,
        "fc2": 10080,
        "output": 840,
    }
    # LeNet-5's known number of parameters, biases included.
    assert sum(p.numel() for p in model.parameters()) == 61706
    assert kernels(made("lenet", padding=0))["fc1"] == 256 * 120
    assert kernels(made("lenet", (3, 32, 32), padding=0))["fc1"] == 400 * 120


def test_cnn():
    model = made("cnn")
    assert kernels(model) == {"conv1": 72, "conv2": 1152, "output": 640}
    assert [name for name, _ in model.named_children()] == [
        "conv1",
        "conv1_bn",
        "conv1_relu",
        "conv1_pool",
        "conv2",
        "conv2_bn",
        "conv2_relu",
        "conv2_pool",
        "flatten",
        "output",
    ]
    wider = made("cnn", channels=[4, 6, 8], hidden=[12], kernel_size=5)
    assert kernels(wider) == {
        "conv1": 4 * 25,
        "conv2": 6 * 4 * 25,
        "conv3": 8 * 6 * 25,
        "fc1": 8 * 12,
        "output": 120,
    }


def test_svhn_cnn_has_the_published_number_of_kernel_weights():
    model = made("svhn_cnn")
    assert kernels(model) == {
        "conv1": 432,
        "conv2": 2304,
        "conv3": 3456,
        "fc1": 4032,
        "fc2": 2688,
        "output": 640,
    }
    assert sum(kernels(model).values()) == 13552


@pytest.mark.parametrize("name", CASES)
def test_networks_are_plain(name):
    model = made(name)
    taken = (nn.Linear, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.BatchNorm1d)
    taken += (nn.BatchNorm2d,)
    for layer in model.children():
        assert isinstance(layer, taken)
        assert not getattr(layer, "ceil_mode", False)
        assert not isinstance(getattr(layer, "padding", 0), str)
    assert all(node.op != "call_function" for node in fx.symbolic_trace(model).graph.nodes)


@pytest.mark.parametrize("name", CASES)
def test_networks_train_and_follow_the_seed(name):
    torch.manual_seed(3)
    first = made(name)
    torch.manual_seed(3)
    second = made(name)
    assert first.training
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    first(torch.randn(4, *CASES[name])).sum().backward()
    assert all(p.grad is not None for p in first.parameters())


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("mlp", {"hiden": [3]}, r"args\.hiden: model 'mlp' has no such .* Did you mean 'hidden'\?"),
        ("svhn_cnn", {"hidden": [3]}, "It takes: none"),
        ("mlp", {"hidden": 64}, r"model\.args\.hidden: .* valid tuple; got 64"),
        ("mlp", {"hidden": [64, "a"]}, r"model\.args\.hidden\.1: .* valid integer; got 'a'"),
        ("mlp", {"hidden": [0]}, r"model\.args\.hidden\.0: .* greater than or equal to 1; got 0"),
        ("mlp", {"batch_norm": "no"}, r"model\.args\.batch_norm: .* valid boolean"),
        ("mlp", {"n_classes": 3}, r"model\.args\.n_classes: comes from the data"),
        ("lenet", {"padding": 1}, r"model\.args\.padding: Input should be 0 or 2"),
        ("cnn", {"kernel_size": 4}, r"model\.args\.kernel_size: Input should be 1, 3, 5 or 7"),
    ],
)
def test_wrong_arguments(name, args, message):
    with pytest.raises(SpecError, match=message):
        build(ModelSpec(name=name, args=args), CASES[name], 10)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("mlp", (1, 28, 28), r"flat data .* shape \(1, 28, 28\); set data\.flatten: true"),
        ("cnn", (64,), r"'cnn' takes images \(C, H, W\), but a sample has shape \(64,\)"),
        ("lenet", (1, 8, 8), "conv2: its input is 4x4, too small for a 5x5 kernel"),
        ("svhn_cnn", (1, 16, 16), "conv3: its input is 2x2"),
    ],
)
def test_networks_that_do_not_fit_the_data(name, shape, message):
    with pytest.raises(NetworkError, match=message):
        made(name, shape)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_hls4ml_converts_every_network(name, tmp_path):
    from hls4ml.converters import convert_from_pytorch_model
    from hls4ml.utils import config_from_pytorch_model
    from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

    model = made(name).eval()
    for layer, module in list(model.named_children()):
        norm = getattr(model, f"{layer}_bn", None)
        if norm is not None:
            fuse = fuse_conv_bn_eval if isinstance(module, nn.Conv2d) else fuse_linear_bn_eval
            setattr(model, layer, fuse(module, norm))
            delattr(model, f"{layer}_bn")
    shape = (None, *CASES[name])
    config = config_from_pytorch_model(
        model, shape, granularity="name", channels_last_conversion="internal"
    )
    hls = convert_from_pytorch_model(
        model,
        hls_config=config,
        io_type="io_stream",
        backend="Vitis",
        output_dir=str(tmp_path / "project"),
    )
    found = {
        layer.name: layer.get_weights("weight").data.size
        for layer in hls.get_layers()
        if layer.class_name in ("Dense", "Conv2D")
    }
    assert found == kernels(model)
