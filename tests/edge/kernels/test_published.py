"""Networks of torchvision and timm as they are published: masked, shrunk and counted alike."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfprune.edge.kernels import masked, shrink, trace_kernels
from rfprune.models.extra_packages import import_package
from tests.edge.kernels.networks import count

pytestmark = pytest.mark.skipif(
    find_spec("timm") is None, reason="timm and torchvision are not installed (extra 'edge')"
)

#: Layers of which kernels may go, of all layers of kernels.
TORCHVISION: dict[str, tuple[int, int]] = {
    "alexnet": (7, 7),
    "vgg11_bn": (10, 10),
    "resnet18": (12, 12),
    "resnet50": (37, 37),
    "resnext50_32x4d": (21, 21),
    "googlenet": (57, 57),
    "regnet_y_400mf": (21, 37),
    "mobilenet_v2": (25, 25),
    "efficientnet_b0": (24, 40),
    "shufflenet_v2_x0_5": (18, 37),
    "squeezenet1_0": (25, 26),
    "mobilenet_v3_large": (22, 30),
    "mnasnet0_5": (25, 25),
    "regnet_x_400mf": (27, 27),
}
TIMM: dict[str, tuple[int, int]] = {
    "ghostnet_100": (24, 31),
    "mixnet_s": (59, 72),
    "tf_efficientnet_lite0": (24, 24),
    "repvgg_a0": (5, 5),
    "mobilenetv4_conv_small": (21, 21),
    "lcnet_050": (15, 17),
    "tinynet_e": (18, 28),
    "fbnetc_100": (29, 29),
    "cspresnet50": (46, 46),
    "res2net50_26w_4s": (93, 93),
    "rexnet_100": (33, 46),
    "dla34": (25, 26),
    "ese_vovnet19b_dw": (23, 23),
    "selecsls42": (41, 41),
    "dpn68": (53, 54),
}


def published(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a network in evaluation mode whose norms shift and scale, and its input."""
    torch.manual_seed(1)
    if name in TORCHVISION:
        models: Any = import_package("torchvision.models", name)
        given = {"aux_logits": False, "init_weights": False}
        more = given if name in ("googlenet", "inception_v3") else {}
        model: nn.Module = getattr(models, name)(weights=None, num_classes=5, **more)
    else:
        timm: Any = import_package("timm", name)
        model = timm.create_model(name, num_classes=5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight, mean=1, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
    size = 96 if name == "inception_v3" else 64
    return model.eval(), (3, size, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TORCHVISION, *TIMM])
def test_published_networks_are_pruned_exactly(name: str) -> None:
    model, shape = published(name)
    kernels = trace_kernels(model, shape)
    assert (len(kernels.prunable), len(kernels.layers)) == {**TORCHVISION, **TIMM}[name]
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    importance = {
        layer.name: torch.rand(layer.n_kernels, generator=generator) for layer in kernels.prunable
    }
    # What can go as a whole does, and of the rest up to three quarters.
    fractions = [
        1.0 if layer.removable else float(rng.choice([0, 0.25, 0.5, 0.75]))
        for layer in kernels.prunable
    ]
    masks = kernels.masks(importance, fractions)
    x = torch.randn(1, *shape, generator=generator)
    with torch.no_grad():
        whole = model(x)
        with masked(model, masks):
            expected = model(x)
        smaller = shrink(model, masks)
        with FlopCounterMode(display=False) as counter:
            found = smaller(x)
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) <= 1e-4 * scale
    assert not torch.allclose(expected, whole, rtol=1e-3, atol=1e-3 * scale)
    counts, left = kernels.count(masks.kept), count(smaller, shape)
    assert 2 * counts.total_macs == 2 * left.total_macs == counter.get_total_flops()
    assert counts.total_parameters == sum(p.numel() for p in smaller.parameters())
    assert counts.activation_bytes.sum() == left.activation_bytes.sum()
