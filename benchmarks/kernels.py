"""What of published networks can be pruned: ``python -m benchmarks.kernels [--json]``.

Half of the kernels of every layer that can lose some, beside Torch-Pruning where that is installed
(MIT; it is no dependency): ``pages/kernels.md``.
"""

import argparse
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.report import Study, render, sentence, table
from rfprune.edge.kernels import masked, shrink, trace_kernels
from rfprune.errors import NetworkError
from rfprune.models.extra_packages import import_package

#: Half of the kernels, so that a network of which all can go keeps a quarter of its work.
FRACTION = 0.5
SIZE = 64
TORCHVISION = (
    *("alexnet", "vgg11_bn", "resnet18", "resnet50", "resnext50_32x4d", "densenet121"),
    *("googlenet", "squeezenet1_0", "shufflenet_v2_x1_0", "mobilenet_v2", "mobilenet_v3_large"),
    *("mnasnet1_0", "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "regnet_x_400mf"),
    "convnext_tiny",
)
TIMM = (
    *("ghostnet_100", "res2net50_26w_4s", "cspresnet50", "mixnet_s", "hrnet_w18_small", "dla34"),
    *("repvgg_a0", "mobilenetv4_conv_small", "tf_efficientnet_lite0", "rexnet_100"),
)


def network(name: str) -> nn.Module:
    """Return a published network of random weights, in evaluation mode."""
    torch.manual_seed(0)
    library: Any = import_package("torchvision.models" if name in TORCHVISION else "timm", name)
    if name not in TORCHVISION:
        model: nn.Module = library.create_model(name)
    else:
        plain = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        model = getattr(library, name)(weights=None, **plain)
    return model.eval()


def ours(name: str) -> dict[str, Any]:
    """Return layers that can be pruned, the work left, and the largest error against the masks."""
    begun, model = time.perf_counter(), network(name)
    kernels = trace_kernels(model, (3, SIZE, SIZE))
    masks = kernels.masks(model, [FRACTION] * len(kernels.prunable))
    smaller = shrink(model, masks)
    x = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad(), masked(model, masks):
        expected = model(x)
    with torch.no_grad():
        error = float((smaller(x) - expected).abs().max() / expected.abs().max())
    left, whole = kernels.count(masks.kept), kernels.count(kernels.n_kernels)
    return {
        "prunable": len(kernels.prunable),
        "layers": len(kernels.layers),
        "macs_left": float(left.total_macs / whole.total_macs),
        "error": error,
        "seconds": time.perf_counter() - begun,
    }


def theirs(name: str) -> dict[str, Any]:
    """Return the work that Torch-Pruning leaves, with groups by its L2 norm."""
    try:
        import torch_pruning as library
    except ImportError:
        return {"torch_pruning": None}
    model, x = network(name), torch.randn(1, 3, SIZE, SIZE)
    try:
        whole, _ = library.utils.count_ops_and_params(model, x)
        outputs = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
        pruner = library.pruner.MagnitudePruner(
            model,
            x,
            importance=library.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=FRACTION,
            ignored_layers=outputs,
        )
        pruner.step()
        with torch.no_grad():
            model(x)
        left, _ = library.utils.count_ops_and_params(model, x)
    except Exception as error:
        return {"torch_pruning": f"{type(error).__name__}"}
    return {"torch_pruning": float(left / whole)}


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Return a row per network."""
    rows: list[Mapping[str, Any]] = []
    for name in (*TORCHVISION, *TIMM):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = ours(name)
            except NetworkError as error:
                found = {"refused": str(error)}
            rows.append({"network": name, **found, **theirs(name)})
    return {"rows": rows}


def page(result: dict[str, Any]) -> str:
    """Return the page."""
    rows = [
        {
            "network": row["network"],
            "layers pruned": f"{row['prunable']} of {row['layers']}",
            "MACs left %": round(100 * row["macs_left"], 1),
            "Torch-Pruning, MACs left %": row["torch_pruning"]
            if not isinstance(row["torch_pruning"], float)
            else round(100 * row["torch_pruning"], 1),
            "largest error": f"{row['error']:.1e}",
        }
        for row in result["rows"]
        if "refused" not in row
    ]
    refused = [f"{r['network']}: {r['refused']}" for r in result["rows"] if "refused" in r]
    made = f"Made by `{result['command']}`. {sentence(result['facts'])}"
    told = f"Refused: {'; '.join(refused)}." if refused else "None was refused."
    return render("kernels", made=made, rows=table(rows), refused=told)


if __name__ == "__main__":
    Study(
        "kernels",
        "what of published networks can be pruned",
        measured,
        page,
        packages=("rfprune", "torch", "torchvision", "timm", "torch_pruning"),
    ).run()
