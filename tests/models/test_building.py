"""Networks from the user's own functions and from saved weights."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from rfprune.errors import NetworkError, SpecError, UnknownNameError
from rfprune.models import architecture, build
from rfprune.models.spec import ModelSpec

USER_MODULE = """
import torch
from torch import nn

def net(width, input_shape, n_classes=2):
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, n_classes))

def plain(n_out=3):
    return nn.Linear(4, n_out)

def not_finite():
    layer = nn.Linear(4, 3)
    layer.weight.data[1, 2] = float("nan")
    return layer

def anything(**options):
    return nn.Linear(4, options["n_out"])

def compiled():
    return torch.compile(nn.Sequential(nn.Linear(4, 3)))

def broken():
    raise RuntimeError("the user's own words")

def no_module():
    return 3

def tuple_output():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x
    return Pair()

constant = 7
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A folder with a module whose name no other test uses."""
    name = f"user_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(USER_MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path, name
    sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_is_the_network_inside(user):
    folder, module = user
    model = build(ModelSpec(name=f"{module}:compiled"), (4,), 3, folder)
    assert type(model) is nn.Sequential
    assert list(model.state_dict()) == ["0.weight", "0.bias"]


def test_a_users_function_gets_what_it_asks_for(user):
    folder, module = user
    before = list(sys.path)
    spec = ModelSpec(name=f"{module}:net", args={"width": 6})
    model = build(spec, (4,), 3, base_dir=folder)
    assert [tuple(layer.weight.shape) for layer in (model[0], model[2])] == [(6, 4), (3, 6)]
    assert model.training
    assert sys.path == before
    spec = ModelSpec(name=f"{module}:anything", args={"n_out": 3})
    assert build(spec, (4,), 3, folder).out_features == 3


def test_the_current_folder_is_importable(user, monkeypatch):
    folder, module = user
    monkeypatch.chdir(folder)
    assert build(ModelSpec(name=f"{module}:plain"), (4,), 3).out_features == 3


@pytest.mark.parametrize(
    ("function", "args", "error", "message"),
    [
        ("net", {}, SpecError, "needs the argument 'width'"),
        ("net", {"wdth": 3}, SpecError, r"no such argument. Did you mean 'width'\?"),
        ("plain", {"n_out": 4}, NetworkError, r"output is \(2, 4\), expected \(2, 3\)"),
        ("plain", {"n_out": "a"}, NetworkError, "plain' failed: TypeError"),
        ("broken", {}, NetworkError, "broken' failed: RuntimeError: the user's own words"),
        ("no_module", {}, NetworkError, r"returned an int, expected a torch\.nn\.Module"),
        (
            "tuple_output",
            {},
            NetworkError,
            r"output is \(\(2, 4\), \(2, 4\)\), expected \(2, 3\): for several outputs",
        ),
        ("constant", {}, NetworkError, "is an int, not a function"),
        ("not_finite", {}, NetworkError, "'weight' holds values that are not finite"),
        ("nett", {}, UnknownNameError, r"has no 'nett'\. Did you mean 'net'\?"),
    ],
)
def test_faults_of_users_functions(user, function, args, error, message):
    folder, module = user
    with pytest.raises(error, match=message):
        build(ModelSpec(name=f"{module}:{function}", args=args), (4,), 3, base_dir=folder)


def test_a_sample_that_the_network_does_not_take(user):
    folder, module = user
    with pytest.raises(NetworkError, match=r"does not take samples of shape \(5,\): .*mat1"):
        build(ModelSpec(name=f"{module}:plain"), (5,), 3, base_dir=folder)


def test_faults_of_users_modules(tmp_path):
    with pytest.raises(UnknownNameError, match="cannot import 'no_such_module'"):
        build(ModelSpec(name="no_such_module:net"), (4,), 3, base_dir=tmp_path)
    (tmp_path / "syntax_fault.py").write_text("def net(:\n")
    with pytest.raises(UnknownNameError, match=r"cannot import 'syntax_fault' \(SyntaxError"):
        build(ModelSpec(name="syntax_fault:net"), (4,), 3, base_dir=tmp_path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "mpl"}, r"unknown model 'mpl'\. Did you mean 'mlp'\?"),
        ({"name": "a.pt", "args": {"hidden": [3]}}, "'args' cannot be combined with the saved"),
        ({"name": "a.pt", "weights": "b.pt"}, "'weights' cannot be combined with the saved"),
        ({"name": "mlp", "width": 3}, "Extra inputs are not permitted"),
        ({"args": {}}, "Field required"),
    ],
)
def test_a_wrong_section_is_refused(section, message):
    with pytest.raises(ValidationError, match=message):
        ModelSpec.model_validate(section)


def small(**settings):
    return ModelSpec(name="mlp", args={"hidden": [3]}, **settings)


def test_initial_weights_from_a_state_dict(tmp_path):
    trained = build(small(), (4,), 2)
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    torch.save({"state_dict": trained.state_dict(), "epoch": 3}, tmp_path / "wrapped.pt")
    for file in ("w.pt", "wrapped.pt"):
        model = build(small(weights=file), (4,), 2, base_dir=tmp_path)
        assert torch.equal(model.fc1.weight, trained.fc1.weight)
        assert torch.equal(model.output.bias, trained.output.bias)
    absolute = architecture(small(weights="w.pt"), tmp_path)
    assert absolute == small(weights=str(tmp_path / "w.pt"))
    assert architecture(small()) == small()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fc1.bias"), r"do not fit the network: missing are fc1\.bias\."),
        (lambda s: s.update(extra=torch.ones(1)), "the network does not have extra"),
        (lambda s: s.update({"fc1.bias": torch.ones(9)}), r"has shape \(9,\), expected \(3,\)"),
        (lambda s: s.update({"fc1.bias": torch.full((3,), torch.nan)}), "NaN or infinite"),
        (lambda s: s.update({"fc1.bias": 3}), "'fc1.bias' is an int; .* tensors only"),
        (lambda s: s.update(state_dict=[1]), "its state dict is a list"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, change, message):
    state = dict(build(small(), (4,), 2).state_dict())
    change(state)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(NetworkError, match=message):
        build(small(weights="w.pt"), (4,), 2, base_dir=tmp_path)


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetworkError, match=r"model\.weights: 'w\.pt' does not exist") as error:
        build(small(weights="w.pt"), (4,), 2, base_dir=tmp_path / "base")
    assert f"Looked for: {tmp_path / 'base' / 'w.pt'}, {tmp_path / 'w.pt'}" in str(error.value)


def test_batch_norm_statistics_travel_with_the_weights(tmp_path):
    spec = ModelSpec(name="mlp", args={"hidden": [3], "batch_norm": True})
    model = build(spec, (4,), 2)
    model(torch.randn(50, 4))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    again = build(spec.model_copy(update={"weights": "w.pt"}), (4,), 2, base_dir=tmp_path)
    assert isinstance(again.fc1_bn, nn.BatchNorm1d)
    assert torch.equal(again.fc1_bn.running_mean, model.fc1_bn.running_mean)
    assert int(again.fc1_bn.num_batches_tracked) == 1


def test_a_network_may_view_its_feature_maps(tmp_path, monkeypatch):
    (tmp_path / "viewing_networks.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.output = nn.Conv2d(2, 3, 3), nn.Linear(48, 5)\n"
        "    def forward(self, x):\n"
        "        return self.output(self.conv(x).view(len(x), -1))\n"
    )
    monkeypatch.chdir(tmp_path)
    model = build(ModelSpec(name="viewing_networks:Net"), (2, 6, 6), 5, base_dir=tmp_path)
    assert model(torch.zeros(4, 2, 6, 6)).shape == (4, 5)


def test_listing_names_loads_no_torch():
    code = (
        "import sys, rfprune.models, rfprune.data\n"
        "print(*rfprune.models.MODELS, *rfprune.data.DATASETS)\n"
        "assert not {'torch', 'sklearn', 'scipy', 'pandas', 'pyarrow'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert {"cnn", "edge_cnn", "mobilenet_v3_small", "digits"} <= set(result.stdout.split())
