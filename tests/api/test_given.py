"""Objects that are handed over in Python: kept as files, the same in another process."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.api.given import hand_over
from rfprune.api.identity import identity, is_own_module
from rfprune.core.given import given_files
from rfprune.core.registry import importable, resolve
from rfprune.errors import DataError, SpecError
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(3, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return helper(self.fc(x))


def helper(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


def scaled(factor: float) -> Any:
    def loss(output: Any, target: Any, weight: Any = None) -> Any:
        return factor * (output - target).square().mean()

    return loss


def test_a_module_becomes_a_function_that_copies_it(tmp_path: Path) -> None:
    network = Net()
    with hand_over({"model": network, "seed": np.int64(3)}, tmp_path, tmp_path / "home") as given:
        name = given.values["model"]["name"]
        assert given.values["seed"] == 3
        with importable(given.base_dir):
            make = resolve(name)
        first, second = make(), make()
    assert first is not second
    x = torch.ones(2, 3)
    assert torch.equal(first(x), network(x))
    first.fc.weight.data.zero_()
    assert torch.equal(second(x), network(x))


def test_the_files_of_objects_are_found_in_a_spec(tmp_path: Path) -> None:
    values = {"model": Net, "task": {"name": "regression", "loss": scaled(2.0)}}
    with hand_over(values, tmp_path, tmp_path / "home") as given:
        names = list(given_files(given.values))
        assert len(names) == 4
        assert all((given.base_dir / name).exists() for name in names)
    assert not list(given_files({"loss": "losses:mine", "file": "given_x.pkl"}))


NETWORK = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, {width})
    def forward(self, x):
        return act(self.fc(x))
def act(x):
    return torch.{act}(x)
"""


def _identity(program: str) -> str:
    """Return the identity of a network as a notebook's cell makes it."""
    cell: dict[str, Any] = {"__name__": "__main__", "nn": nn, "torch": torch}
    exec(compile(program, "cell", "exec"), cell)
    return identity(cell["Net"]())


def test_identity_is_of_code_and_structure_not_of_weights() -> None:
    one = _identity(NETWORK.format(width=4, act="relu"))
    again = _identity("# a comment\n\n" + NETWORK.format(width=4, act="relu"))
    wider = _identity(NETWORK.format(width=5, act="relu"))
    other = _identity(NETWORK.format(width=4, act="tanh"))
    assert one == again
    assert len({one, wider, other}) == 3


def test_identity_sees_what_a_function_encloses() -> None:
    assert identity(scaled(2.0)) == identity(scaled(2.0))
    assert identity(scaled(2.0)) != identity(scaled(3.0))
    assert identity(functools.partial(scaled, 2.0)) != identity(functools.partial(scaled, 3.0))


def test_own_modules_are_not_installed_ones() -> None:
    assert is_own_module("__main__")
    assert is_own_module(__name__)
    assert not any(map(is_own_module, ("numpy.linalg", "json", "rfprune.api", "torch", None, "")))


def test_the_same_code_again_keeps_its_first_weights_and_says_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with hand_over({"model": Net()}, tmp_path, home) as given, given.installed(home):
        name = given.values["model"]["name"]
        first = resolved(given.base_dir, name)
    with hand_over({"model": Net()}, tmp_path, home) as again:
        assert again.values["model"]["name"] == name
        assert again.notes[0].startswith(
            "model.name: the sweep goes on from the weights of its first"
        )
        assert torch.equal(resolved(again.base_dir, name).fc.weight, first.fc.weight)
    with hand_over({"model": Net(5)}, tmp_path, home) as wider:
        assert wider.values["model"]["name"] != name


def resolved(base_dir: Path, name: str) -> Any:
    with importable(base_dir):
        return resolve(name)()


def test_what_cannot_be_pickled_is_one_sentence(tmp_path: Path) -> None:
    network = Net()
    network.lock = __import__("threading").Lock()
    values, why = {"model": lambda: network}, "model.name: function cannot be sent to the workers"
    with pytest.raises(SpecError, match=why) as caught, hand_over(values, tmp_path, tmp_path / "h"):
        pass
    assert "\n" not in str(caught.value)


X = np.arange(24, dtype=np.float32).reshape(8, 3)
Y = np.arange(8) % 2


def frame() -> Any:
    import pandas

    return pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "label": Y})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("digits", {"name": "digits"}),
        ("mine.npz", {"file": "mine.npz"}),
        ("mydata:make", {"function": "mydata:make"}),
        ({"name": "digits", "flatten": True}, {"name": "digits", "flatten": True}),
        ({"file": "data_1", "classes": None, "name": None}, {"file": "data_1"}),
    ],
)
def test_names_of_data_stay_names(data: Any, expected: dict[str, Any], tmp_path: Path) -> None:
    with hand_over({"data": data}, tmp_path, tmp_path / "home") as given:
        assert given.values["data"] == expected


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        [X.tolist(), Y.tolist()],
        (X, Y, np.ones(8)),
        (X, Y, X, Y),
        {"x_train": X, "y_train": Y},
        {"x_train": torch.from_numpy(X), "y_train": Y, "val_fraction": 0.3},
        frame(),
        (frame(), "label"),
        (frame()[["a", "b"]], frame()["label"]),
        {"frame": frame(), "target": "label", "features": ["a"]},
        (torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),) * 2,
        lambda: {"x_train": X, "y_train": Y},
    ],
)
def test_forms_of_data_are_read_as_data(data: Any, tmp_path: Path) -> None:
    from rfprune.data import load
    from rfprune.data.spec import DataSpec
    from rfprune.tasks import make_task
    from rfprune.tasks.spec import TaskSpec

    keys = []
    for _ in range(2):
        with hand_over({"data": data}, tmp_path, tmp_path / "home") as given:
            spec = DataSpec.model_validate(json.loads(json.dumps(given.values["data"])))
            rows = load(spec, given.base_dir, make_task(TaskSpec()))
            keys.append(spec)
    assert len(rows.x_train) > 0
    assert rows.n_outputs == 2
    # The same data have the same name, so that a sweep goes on with them.
    if not callable(data):
        assert keys[0] == keys[1]


@pytest.mark.parametrize("data", [3, (X,), (1, 2), {"x_trian": X}, {"x_train": np.array([{}])}])
def test_what_is_no_data_is_one_sentence(data: Any, tmp_path: Path) -> None:
    with (
        pytest.raises((DataError, SpecError), match=r"^data"),
        hand_over({"data": data}, tmp_path, tmp_path / "home"),
    ):
        pass


def test_several_networks_are_called_what_their_objects_are(tmp_path: Path) -> None:
    choices = [Net(), Net(8), {"name": Net, "args": {"width": 2}, "label": "thin"}, "mlp"]
    values = {
        "name": "several",
        "model": {"choices": choices},
        "data": {"name": "digits"},
        "search": {"prune.budget.dsp": {"low": 0.1, "high": 0.5}},
    }
    with hand_over(values, tmp_path, tmp_path / "home") as given:
        spec = parse_spec(SweepSpec, given.values, "several")
        assert list(spec.models) == ["Net-1", "Net-2", "thin", "mlp"]
        with importable(given.base_dir):
            made = [resolve(model.name)() for model in list(spec.models.values())[:2]]
        # All objects travel with the sweep.
        files = {name for name in given_files(spec.canonical()) if name.endswith(".pkl")}
    assert [network.fc.out_features for network in made] == [4, 8]
    assert len(files) == 3
