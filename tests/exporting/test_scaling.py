"""The scaling belongs to the network: raw rows get one answer, wherever it runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import fx, nn

import rfprune
from rfprune.data import Scaling
from rfprune.errors import NetworkError, SimulationError
from rfprune.exporting import Request, export
from rfprune.exporting.folding import fold_scaling
from rfprune.exporting.raw_rows import taking_raw_rows
from rfprune.hardware.precision import FixedType
from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.trial.run import run_trial

FEATURES = 6
OFFSET = torch.tensor([0.0, 900.0, -3.0, 0.5, 0.0, 70.0])
SCALE = torch.tensor([1.0, 250.0, 0.125, 0.25, 40.0, 8.0])


def scaling_of(*shape: int) -> Scaling:
    torch.manual_seed(1)
    return Scaling({"": torch.randn(shape)}, {"": torch.rand(shape) + 0.5})


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, jets: torch.Tensor, event: torch.Tensor) -> torch.Tensor:
        return self.a(jets) + self.b(event)


@pytest.mark.parametrize("traced", [False, True], ids=["module", "graph"])
def test_a_network_that_takes_raw_rows(traced: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(FEATURES, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    scaling = Scaling({"": OFFSET}, {"": SCALE})
    scaled = torch.randn(20, FEATURES)
    raw = scaled * SCALE + OFFSET
    expected, names = network(scaled), list(network.state_dict())
    changed = taking_raw_rows(fx.symbolic_trace(network) if traced else network, scaling)
    torch.testing.assert_close(changed(raw), expected, rtol=1e-4, atol=1e-4)
    assert list(changed.state_dict()) == names
    assert changed.get_submodule("0").weight.shape == (4, FEATURES)
    # What a tracer makes of it holds the scaling too: nobody loses it unknowingly.
    torch.testing.assert_close(fx.symbolic_trace(changed)(raw), changed(raw))
    program = torch.export.export(changed, (raw,))
    torch.testing.assert_close(program.module()(raw), changed(raw))


@pytest.mark.parametrize("traced", [False, True], ids=["module", "graph"])
def test_several_inputs_are_scaled_each_by_their_own(traced: bool) -> None:
    network = TwoInputs().eval()
    scaling = Scaling(
        {"jets": torch.ones(4), "event": torch.tensor([5.0, 0.0])},
        {"jets": torch.full((4,), 2.0), "event": torch.tensor([10.0, 3.0])},
    )
    jets, event = torch.randn(5, 4), torch.randn(5, 2)
    expected = network(
        scaling.scaled(rows := rfprune_named(jets, event)).parts["jets"],
        scaling.scaled(rows).parts["event"],
    )
    changed = taking_raw_rows(fx.symbolic_trace(network) if traced else network, scaling)
    torch.testing.assert_close(changed(jets, event), expected)
    torch.testing.assert_close(changed(jets=jets, event=event), expected)


def rfprune_named(jets: torch.Tensor, event: torch.Tensor):
    from rfprune.core.named import Named

    return Named({"jets": jets, "event": event})


def test_raw_rows_come_back() -> None:
    scaling = Scaling({"": OFFSET}, {"": SCALE})
    raw = torch.randint(-2000, 2000, (50, FEATURES)).float()
    assert torch.equal(scaling.raw(scaling.scaled(raw)), raw)
    raw = torch.randn(50, FEATURES) * 3
    torch.testing.assert_close(scaling.raw(scaling.scaled(raw)), raw, rtol=1e-4, atol=1e-3)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(x))


class ReadTwice(nn.Module):
    """A layer without a bias that its batch norm does not read alone."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(6, 3, bias=False), nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fc(x)
        return self.norm(x) + x


class NormTwice(ReadTwice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.relu(self.norm(self.fc(x))))


class Twice(Functional):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) + self.fc(self.fc(x))


FOLDED = {
    "linear": (nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2)), (6,), (6,)),
    "dropout before": (nn.Sequential(nn.Dropout(), nn.Linear(6, 3)), (6,), (6,)),
    "batch norm": (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)), (6,), (6,)),
    "batch norm of channels": (
        nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()),
        (3, 4, 4),
        (3, 1, 1),
    ),
    "flattened channels": (nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), (3, 8), (3, 1)),
    "convolution": (nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten()), (4, 6, 6), (4, 1, 1)),
    "no bias, batch norm": (
        nn.Sequential(nn.Linear(6, 3, bias=False), nn.Dropout(), nn.BatchNorm1d(3), nn.ReLU()),
        (6,),
        (6,),
    ),
    "convolution without bias, batch norm": (
        nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten()),
        (4, 6, 6),
        (4, 1, 1),
    ),
    "groups without bias, plain batch norm": (
        nn.Sequential(
            nn.Conv1d(4, 8, 3, groups=4, bias=False), nn.BatchNorm1d(8, affine=False), nn.Flatten()
        ),
        (4, 6),
        (4, 1),
    ),
    "flattened, no bias, batch norm": (
        nn.Sequential(nn.Flatten(), nn.Linear(24, 3, bias=False), nn.BatchNorm1d(3)),
        (3, 8),
        (3, 1),
    ),
    "groups": (nn.Sequential(nn.Conv1d(4, 8, 3, groups=2), nn.Flatten()), (4, 6), (4, 1)),
}


@pytest.mark.parametrize("case", FOLDED)
def test_folding_changes_no_answer_and_no_zero(case: str) -> None:
    torch.manual_seed(0)
    network, row, shape = FOLDED[case]
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            module.weight.data[:, ::2] = 0
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    network.eval()
    zeros = {name: value == 0 for name, value in network.state_dict().items()}
    scaling = scaling_of(*shape)
    raw = torch.randn(30, *row) * 3
    expected = network(scaling.scaled(raw))
    assert fold_scaling(network, scaling)
    torch.testing.assert_close(network(raw), expected, rtol=1e-4, atol=1e-4)
    for name, value in network.state_dict().items():
        if name.endswith("weight"):
            assert torch.equal(value == 0, zeros[name])


REFUSED = {
    "no bias": (nn.Sequential(nn.Linear(6, 3, bias=False)), (6,), "has no bias to take the offset"),
    "no bias, no statistics": (
        nn.Sequential(nn.Linear(6, 3, bias=False), nn.BatchNorm1d(3, track_running_stats=False)),
        (6,),
        "no batch norm behind it",
    ),
    "no bias, read twice": (ReadTwice(), (6,), "no batch norm behind it"),
    "no bias, batch norm used twice": (NormTwice(), (6,), "layer 'norm' is used 2 times"),
    "padding": (nn.Sequential(nn.Conv1d(4, 8, 3, padding=1)), (4, 1), "pads with zeros"),
    "padding in words": (
        nn.Sequential(nn.Conv1d(4, 8, 3, padding="same")),
        (4, 1),
        "pads with zeros",
    ),
    "last axis": (nn.Sequential(nn.Linear(6, 3)), (4, 1), "sums over the last axis"),
    "no weights": (
        nn.Sequential(nn.ReLU(), nn.Linear(6, 3)),
        (6,),
        "first layer '0' (ReLU) has no",
    ),
    "plain batch norm": (
        nn.Sequential(nn.BatchNorm1d(6, affine=False)),
        (6,),
        "no weights to take",
    ),
    "function": (Functional(), (6,), "the first operation on the input is 'relu'"),
    "used twice": (nn.Sequential(Twice()), (6,), "is used 3 times"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folding_that_would_not_be_exact_is_refused(case: str) -> None:
    network, shape, reason = REFUSED[case]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(NetworkError, match="--fold-scaling") as error:
        fold_scaling(network, scaling_of(*shape))
    assert reason in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# A whole trial on a file whose features have large offsets ------------------------------------


def write_file(path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1500)
    x = rng.normal(size=(1500, FEATURES)) + np.eye(3, FEATURES)[y] * 3
    raw = (x * SCALE.numpy() + OFFSET.numpy()).astype("f4")
    with h5py.File(path, "w") as file:
        file["x_train"], file["y_train"] = raw[:1200], y[:1200]
        file["x_test"], file["y_test"] = raw[1200:], y[1200:]


#: Types that hold the raw rows, and the first layer's weights that took in their scaling.
WIDE = {"precision": "fixed<24,13>", "weight_precision": "fixed<22,6>"}


def run_in(home: Path, types: dict[str, str]) -> TrialFolder:
    torch.set_num_threads(1)
    write_file(home / "jets.h5")
    spec = TrialSpec.model_validate(
        {
            "model": {"name": "mlp", "args": {"hidden": [8]}},
            "data": {"file": "jets.h5"},
            "hardware": {"part": "pynq-z2", "reuse_factor": 2, **types},
            "train": {"epochs": 4},
            "prune": {"steps": 1, "epochs_per_step": 1, "budget": {"dsp": 0.7}},
        }
    )
    folder = TrialFolder(home / "trials" / "0000")
    (home / "trial.json").write_text(json.dumps({"base_dir": str(home)}))
    run_trial(spec, folder, dense_dir=home / "dense", base_dir=home)
    return folder


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    return run_in(tmp_path_factory.mktemp("scaled"), {"precision": "fixed<18,8>"})


def raw_rows(trial: TrialFolder) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(trial.base_dir() / "jets.h5") as file:
        return file["x_test"][()], file["y_test"][()]


def test_an_export_without_a_simulation_says_how_it_scales(
    trial: TrialFolder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(Request(trial=trial, step=1, out=out, rows=0))
    facts = json.loads((out / "scaling.json").read_text())
    with h5py.File(trial.base_dir() / "jets.h5") as file:
        mean = file["x_train"][()].mean(axis=0)
    np.testing.assert_allclose(facts["offset"], mean, rtol=0.1, atol=4)
    assert len(facts["scale"]) == FEATURES
    assert facts["folded_into"] == []
    assert "`(raw - offset) / scale`" in (out / "report.md").read_text()
    x, y = raw_rows(trial)
    right = rfprune.load(out)(torch.from_numpy(x)).argmax(1).numpy() == y
    assert right.mean() == pytest.approx(trial.step(1).values["accuracy"], abs=0.005)


PYFUNC = """
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
x = np.load(sys.argv[2])
np.save(sys.argv[3], mlflow.pyfunc.load_model("models:/scaled@champion").predict(x))
assert "rfprune" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("fold", [False, True], ids=["scaled", "folded"])
def test_raw_rows_give_one_answer_in_four_places(
    trial: TrialFolder, tmp_path: Path, fold: bool
) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is missing")
    from rfprune.tracking import TrackingConfig, register_model

    out = tmp_path / "out"
    trial = run_in(tmp_path, WIDE) if fold else trial
    export(Request(trial=trial, step=1, out=out, fold_scaling=fold))
    x, _ = raw_rows(trial)
    with torch.no_grad():
        expected = rfprune.load(out)(torch.from_numpy(x)).numpy()
    (by_onnx,) = runtime.InferenceSession(str(out / "model.onnx")).run(["logits"], {"x": x})
    np.testing.assert_allclose(by_onnx, expected, rtol=1e-3, atol=1e-3)

    config = TrackingConfig.model_validate({"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"})
    register_model(out, "scaled", config)
    np.save(tmp_path / "x.npy", x)
    found = tmp_path / "found.npy"
    program = [sys.executable, "-W", "ignore", "-c", PYFUNC, config.tracking_uri]
    subprocess.run([*program, str(tmp_path / "x.npy"), str(found)], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(found), expected, rtol=1e-3, atol=1e-3)

    with np.load(out / "test_vectors.npz") as vectors:
        np.testing.assert_allclose(vectors["x"], x, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(vectors["logits"], expected, rtol=1e-3, atol=2e-3)
        facts = json.loads((out / "scaling.json").read_text())
        offset, scale = (np.array(facts[name], "f4") for name in ("offset", "scale"))
        ready = vectors["x"] if fold else (vectors["x"] - offset) / scale
        kind = FixedType.parse(WIDE["precision"] if fold else "fixed<18,8>")
        assert np.array_equal(kind.quantize(torch.from_numpy(ready)).numpy(), vectors["x_scaled"])
        # The C++ of those rows, which are raw ones where it scales them: the same answers, up to
        # the types.
        agree = vectors["logits_fixed"].argmax(1) == expected.argmax(1)
        assert agree.mean() > 0.99
        assert np.abs(vectors["logits_fixed"] - expected).max() < 0.1
    bench = np.loadtxt(out / "hls" / "tb_data" / "tb_input_features.dat")
    assert bench.shape[1] == FEATURES


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
def test_types_that_cannot_hold_raw_rows_are_refused(trial: TrialFolder, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=r"raw values reach .* holds -128 to 127\.999 in"):
        export(Request(trial=trial, step=1, out=tmp_path / "out", fold_scaling=True))
    assert list(tmp_path.iterdir()) == []
