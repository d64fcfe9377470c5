"""Files of weights that other programs saved: taken whatever wraps them, or refused by key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rfprune.errors import NetworkError
from rfprune.models import build
from rfprune.models.spec import ModelSpec

SPEC = ModelSpec(name="mlp", args={"hidden": [6, 5], "batch_norm": True})


@pytest.fixture
def trained() -> nn.Module:
    torch.manual_seed(1)
    model = build(SPEC, (4,), 3)
    model(torch.randn(20, 4))
    return model.eval()


class Wrapper(nn.Module):
    """What a LightningModule looks like: the network is an attribute, beside a loss of weights."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(3))


def lightning(state: dict[str, Tensor]) -> dict[str, Any]:
    """The layout of ``Trainer.save_checkpoint``."""
    return {
        "epoch": 3,
        "global_step": 400,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"hidden": [6, 5]},
    }


FILES: dict[str, Callable[[nn.Module], Any]] = {
    "plain.pth": lambda net: net.state_dict(),
    "model_state_dict.pt": lambda net: {"epoch": 7, "model_state_dict": net.state_dict()},
    "state_dict.pt": lambda net: {"state_dict": net.state_dict(), "best": 0.9},
    "model.pt": lambda net: {"model": net.state_dict(), "optimizer": {"state": {}}},
    "data_parallel.pt": lambda net: nn.DataParallel(net).state_dict(),
    "compiled.pt": lambda net: {f"_orig_mod.{k}": v for k, v in net.state_dict().items()},
    "averaged.pt": lambda net: AveragedModel(net).state_dict(),
    "lightning.ckpt": lambda net: lightning(Wrapper(net).state_dict()),
    "both.ckpt": lambda net: lightning(Wrapper(nn.DataParallel(net)).state_dict()),
}


@pytest.mark.parametrize("name", FILES)
def test_whatever_wraps_a_network_its_weights_are_found(
    tmp_path: Path, trained: nn.Module, name: str
) -> None:
    torch.save(FILES[name](trained), tmp_path / name)
    found = build(SPEC.model_copy(update={"weights": name}), (4,), 3, tmp_path).eval()
    x = torch.randn(9, 4)
    assert torch.equal(found(x), trained(x))


@pytest.mark.parametrize("wrapped", [False, True])
def test_safetensors(tmp_path: Path, trained: nn.Module, wrapped: bool) -> None:
    state = (Wrapper(trained) if wrapped else trained).state_dict()
    save_file(
        {name: value.contiguous() for name, value in state.items()}, tmp_path / "net.safetensors"
    )
    spec = SPEC.model_copy(update={"weights": "net.safetensors"})
    x = torch.randn(9, 4)
    assert torch.equal(build(spec, (4,), 3, tmp_path).eval()(x), trained(x))


def test_a_new_head_on_the_body_of_a_wrapped_network(tmp_path: Path, trained: nn.Module) -> None:
    torch.save(lightning(Wrapper(trained).state_dict()), tmp_path / "net.ckpt")
    spec = SPEC.model_copy(update={"weights": "net.ckpt", "new_head": True})
    found = build(spec, (4,), 7, tmp_path)
    assert torch.equal(found.fc2.weight, trained.fc2.weight)
    assert found.output.weight.shape == (7, 5)


def without(net: nn.Module, name: str) -> dict[str, Tensor]:
    return {key: value for key, value in net.state_dict().items() if key != name}


REFUSED: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "no state dict": (
        lambda net: {"epoch": 3, "weight_files": ["a"]},
        r"'epoch' is an int; a state dict holds tensors only.*state_dict, model_state_dict",
    ),
    "no tensors in it": (
        lambda net: {"model_state_dict": {"fc1.weight": 3}},
        r"'fc1\.weight' is an int",
    ),
    "one is missing": (
        lambda net: without(net, "fc2.weight"),
        r"do not fit the network: missing are fc2\.weight\.",
    ),
    "one is missing behind a prefix": (
        lambda net: {f"module.{k}": v for k, v in without(net, "fc2.weight").items()},
        r"do not fit the network: missing are fc2\.weight\.",
    ),
    "one too many": (
        lambda net: {**net.state_dict(), "fc9.bias": torch.ones(3)},
        r"the network does not have fc9\.bias\.",
    ),
    "one too many behind a prefix": (
        lambda net: {
            f"module.{k}": v for k, v in [*net.state_dict().items(), ("x", torch.ones(1))]
        },
        r"the network does not have x\.",
    ),
    "another shape": (
        lambda net: {**net.state_dict(), "fc1.weight": torch.ones(6, 9)},
        r"fc1\.weight has shape \(6, 9\), expected \(6, 4\)",
    ),
    "two networks": (
        lambda net: {
            f"{p}.{k}": v for p in ("student", "teacher") for k, v in net.state_dict().items()
        },
        r"2 networks in it fit, whose tensors begin with 'student\.' and 'teacher\.'",
    ),
    "not finite": (
        lambda net: {
            "state_dict": {**net.state_dict(), "fc1.weight": torch.full((6, 4), torch.inf)}
        },
        r"'fc1\.weight' holds values that are NaN or infinite",
    ),
    "another network": (
        lambda net: {f"conv{i}.weight": torch.ones(2) for i in range(9)},
        r"the network does not have conv0\.weight.* and 3 more",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_does_not_fit_is_refused_by_key(
    tmp_path: Path, trained: nn.Module, case: str
) -> None:
    content, message = REFUSED[case]
    torch.save(content(trained), tmp_path / "net.pt")
    with pytest.raises(NetworkError, match=message) as caught:
        build(SPEC.model_copy(update={"weights": "net.pt"}), (4,), 3, tmp_path)
    assert "net.pt: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path, trained: nn.Module) -> None:
    path = tmp_path / "net.safetensors"
    save_file(trained.state_dict(), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(NetworkError, match="not a readable safetensors file"):
        build(SPEC.model_copy(update={"weights": "net.safetensors"}), (4,), 3, tmp_path)
