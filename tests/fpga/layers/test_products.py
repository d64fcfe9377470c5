"""Products of two tensors, softmax and attention, lowered and planned; the C++ is compared in
test_table.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfprune.errors import NetworkError
from rfprune.fpga.estimators import estimate
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.layers import Plan, fold_batch_norm, plan, trace
from rfprune.fpga.layers.lowering import lower
from rfprune.fpga.layers.operators import Product, Softmax
from rfprune.hardware.precision import FixedType
from rfprune.spec import HardwareSpec

Way = Callable[[Tensor, Tensor, Tensor], Tensor]


class Attention(nn.Module):
    """Query, key and value of 5 steps of 4 features, and what is made of them."""

    def __init__(self, way: Way, units: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = (nn.Linear(4, units) for _ in range(3))
        self.out, self.way = nn.Linear(units, 2), way

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.way(self.q(x), self.k(x), self.v(x))
        return self.out(rows.sum(1))


def heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (part.view(len(part), 5, 2, 3).transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).reshape(-1, 5, 6)


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("b i d, b j d -> b i j", q, k)
    return torch.einsum("...ij,...jk", torch.softmax(scores / math.sqrt(6), -1), v)


WAYS: dict[str, Way] = {
    "attention": F.scaled_dot_product_attention,
    "two heads": heads,
    "einsum": by_einsum,
    "matmul": lambda q, k, v: torch.softmax(2 * (q @ k.mT), dim=-1) @ v,
    "bmm": lambda q, k, v: torch.bmm(q.transpose(1, 2).softmax(1), k).sum(1, keepdim=True) + v,
    "softmax of axis 1": lambda q, k, v: torch.softmax(q.matmul(k.mT) * 0.5, 1).matmul(v),
    "einsum that turns": lambda q, k, v: torch.einsum("nid,njd->nji", q, k) @ v,
    "einsum that keeps": lambda q, k, v: torch.einsum("nid,nid->ndi", q, k).transpose(1, 2) + v,
    "outer": lambda q, k, v: torch.einsum("nid,nje->nidje", q, k).sum((3, 4)) + v,
    "scale of two readers": lambda q, k, v: (s := q @ k.mT / 3).softmax(-1) @ v + (s @ v),
}


@pytest.mark.parametrize("way", WAYS)
def test_lowered_is_the_same(way: str) -> None:
    model = Attention(WAYS[way]).eval()
    x = torch.randn(9, 5, 4)
    with torch.no_grad():
        torch.testing.assert_close(lower(model, (5, 4))(x), model(x))


@pytest.mark.parametrize("way", WAYS)
def test_wide_types_compute_nearly_the_same(way: str) -> None:
    model = Attention(WAYS[way]).eval()
    planned = planned_of(model, precision="fixed<24,10>")
    x = torch.randn(9, 5, 4) / 2
    with torch.no_grad():
        ours, theirs = deployed(model, planned)(x), model(x).double()
    assert float((ours - theirs).abs().max()) < 0.05 * max(1.0, float(theirs.abs().max()))


def planned_of(model: nn.Module, **hardware: object) -> Plan:
    return plan(trace(model, (5, 4)), HardwareSpec(strategy="latency", **hardware))


def test_a_scale_is_in_the_table() -> None:
    modules = [m for m in lower(Attention(by_einsum), (5, 4)).modules() if m is not None]
    (softmax,) = (each for each in modules if isinstance(each, Softmax))
    assert softmax.scale == pytest.approx(1 / math.sqrt(6))
    assert sum(isinstance(each, Product) for each in modules) == 2
    kinds = [each.type for each in trace(Attention(by_einsum), (5, 4)).operations]
    assert "affine" not in kinds


def test_a_scale_that_something_else_reads_stays() -> None:
    kinds = [x.type for x in trace(Attention(WAYS["scale of two readers"]), (5, 4)).operations]
    assert kinds.count("affine") == 1


def test_scores_do_not_overflow() -> None:
    planned = planned_of(Attention(F.scaled_dot_product_attention), precision="fixed<12,4>")
    scores, weights, result = (
        next(planned.types[x.name] for x in planned.network.operations if x.name.endswith(name))
        for name in ("attention", "then_1", "then_2")
    )
    # Six products of two numbers of 4 bits before the point, with the 8 bits behind it of the data.
    assert scores == FixedType(11 + 8, 11)
    assert weights == result == FixedType(12, 4)
    assert planned.products("scaled_dot_product_attention") == FixedType(24 + 3, 8 + 3)


def test_sums_of_products_are_multiplied_side_by_side() -> None:
    model = Attention(F.scaled_dot_product_attention).eval()
    costs = {}
    for factor in (1, 2):
        planned = planned_of(model, reuse_factor=factor)
        design = design_of(planned, fold_batch_norm(model, planned.network))
        costs[factor] = {layer.name: layer.dsp for layer in estimate(design).layers}
    name = "scaled_dot_product_attention"
    # 5 x 5 scores of 6 products each, and as many the other way round.
    assert costs[1][name] == costs[1][f"{name}_then_2"] == 150
    assert costs[2][name] == 75
    assert costs[1][f"{name}_then_1"] == 25


REFUSED: dict[str, tuple[Way, str]] = {
    "mask": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.ones(5, 5)),
        "with a mask",
    ),
    "dropout": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.5),
        "with dropout_p=0.5",
    ),
    "values for all heads": (
        lambda q, k, v: F.scaled_dot_product_attention(
            *(part.unflatten(2, (2, 3)).transpose(1, 2) for part in (q, k)),
            v[:, None, :, :3],
        ).flatten(2)[:, :, :6],
        "an axis of 1 is repeated",
    ),
    "a scale below 0": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=-0.5),
        "with scale=-0.5. Give one above 0",
    ),
    "diagonal": (
        lambda q, k, v: torch.einsum("nii->ni", q @ k.mT).unsqueeze(2) * v,
        "of 1 tensors",
    ),
    "three tensors": (
        lambda q, k, v: torch.einsum("nid,njd,nje->nie", q, k, v),
        "of 3 tensors. Take two",
    ),
    "a sum of one tensor": (
        lambda q, k, v: torch.einsum("nid,nje->nid", q, k),
        "over an axis of one tensor alone",
    ),
    "repeated": (
        lambda q, k, v: torch.einsum("nid,njd->nij", q, k.sum(2, keepdim=True)) @ v,
        "an axis of 1 is repeated",
    ),
    "rows": (lambda q, k, v: torch.einsum("nid,mjd->nmij", q, k).sum(1) @ v, "mixes the rows"),
    "unlike ranks": (lambda q, k, v: (q.unsqueeze(1) @ k.mT).sum(1) @ v, "as many axes"),
    "softmax of rows": (lambda q, k, v: q.softmax(0) * v, "over the rows"),
    "softmax at last": (lambda q, k, v: q, "as an output"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    way, words = REFUSED[case]
    model: nn.Module = Attention(way)
    if case == "softmax at last":
        model = nn.Sequential(model, nn.Softmax(1))
    with pytest.raises(NetworkError, match=words) as refused:
        trace(model, (5, 4))
    assert "\n" not in str(refused.value)


def test_too_wide_to_prove() -> None:
    with pytest.raises(NetworkError, match=r"products of fixed<28,10> and fixed<28,10> need more"):
        planned_of(Attention(F.scaled_dot_product_attention), precision="fixed<28,10>")


def test_not_in_io_stream() -> None:
    with pytest.raises(NetworkError, match=r"'product' in io_stream here\. Use io_parallel"):
        planned_of(Attention(F.scaled_dot_product_attention), io_type="io_stream")
