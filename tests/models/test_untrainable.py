"""Networks whose weights are not plain parameters: one sentence, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rfprune.errors import NetworkError
from rfprune.models.untrainable import refuse_untrainable


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 3))


def lazy_convolution() -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 2, 1), nn.LazyBatchNorm1d())


def exported() -> nn.Module:
    return torch.export.export(mlp(), (torch.zeros(2, 6),)).module()


def scripted() -> nn.Module:
    return torch.jit.trace(mlp(), torch.zeros(2, 6))


def int8() -> nn.Module:
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(mlp(), {nn.Linear})


def prepared() -> nn.Module:
    from torch.ao import quantization

    model = mlp().train()
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    return quantization.prepare_qat(model)


def weight_norm() -> nn.Module:
    model = mlp()
    nn.utils.parametrizations.weight_norm(model[0])
    return model


def orthogonal() -> nn.Module:
    model = mlp()
    nn.utils.parametrizations.orthogonal(model[2])
    return model


def old_spectral_norm() -> nn.Module:
    model = mlp()
    nn.utils.spectral_norm(model[0])
    return model


def pruned() -> nn.Module:
    from torch.nn.utils import prune

    model = mlp()
    prune.l1_unstructured(model[2], "weight", 0.5)
    return model


def double() -> nn.Module:
    return mlp().double()


CASES: list[tuple[Any, str]] = [
    (double, "0.weight is of type torch.float64, .*model.float"),
    (lazy, "0: LazyLinear does not know its size yet"),
    (lazy_convolution, "1: LazyBatchNorm1d does not know its size"),
    (exported, "is a program of torch.export"),
    (scripted, "is a TorchScript module"),
    (int8, "0: is quantized already"),
    (prepared, "is prepared for quantization"),
    (weight_norm, "0: its weight is computed by a parametrization; call .*remove_parametrizations"),
    (orthogonal, "2: its weight is computed by a parametrization"),
    (old_spectral_norm, "0: its weight is no parameter .* SpectralNorm"),
    (pruned, "2: its weight is masked by torch.nn.utils.prune; call .*prune.remove"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "words"), CASES)
def test_refused_in_one_sentence(make: Any, words: str) -> None:
    with pytest.raises(NetworkError, match=f"^model 'net:make': .*{words}") as refused:
        refuse_untrainable(make(), "net:make")
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "remove"), [(weight_norm, 0), (pruned, 2)])
def test_taken_when_the_advice_is_followed(make: Any, remove: int, tmp_path: Path) -> None:
    from torch.nn.utils import parametrize, prune

    model = make()
    if make is pruned:
        prune.remove(model[remove], "weight")
    else:
        parametrize.remove_parametrizations(model[remove], "weight")
    refuse_untrainable(model, "net:make")
