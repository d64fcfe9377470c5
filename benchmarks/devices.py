"""Device profiles beside published times: ``python -m benchmarks.devices [--json]``.

What is compared, and how the efficiencies of the profiles were found: ``pages/devices.md``.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn

from benchmarks.report import HERE, Study, render, sentence, table
from rfprune.edge.kernels.channels import find_channels
from rfprune.edge.kernels.counting import KernelCounts, make_formulas
from rfprune.edge.kernels.flow import find_flow
from rfprune.edge.monitor import DeviceProfile, Efficiency, LayerWork, find_device
from rfprune.models.extra_packages import import_package
from rfprune.spec.yaml_files import read_yaml

PUBLISHED = HERE / "devices.yml"
_KINDS = ("dense", "pointwise", "grouped")


def counts_of(name: str, size: int) -> KernelCounts:
    """Return what a published network takes, of which only the shapes are needed: (1, n)."""
    # RegNet works its widths out with tensors, which the meta device has no values for.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        if name == "mobilenetv1_100":
            timm: Any = import_package("timm", name)
            model: nn.Module = timm.create_model(name)
        else:
            library: Any = import_package("torchvision.models", name)
            plain = {"aux_logits": False, "init_weights": False}
            given = plain if name in ("googlenet", "inception_v3") else {}
            model = getattr(library, name)(weights=None, **given)
    model = model.to("meta")
    channels = find_channels(model, (3, size, size))
    whole = np.array([channels.sizes], dtype=np.int64)
    return make_formulas(model, channels).evaluate(find_flow(channels, whole))


def milliseconds(device: DeviceProfile, counts: KernelCounts, precision: str) -> float:
    """Return the time of one image by a profile."""
    bits = 32 if precision == "fp32" else 8
    macs, parameters, outputs, inputs = (
        part.astype(np.float64)
        for part in (counts.macs, counts.parameters, counts.activation_bytes, counts.inputs)
    )
    size = bits / 8
    work = LayerWork(macs, parameters * size, outputs * size / 2, inputs, counts.kinds, bits)
    return work.workloads(device)[0].seconds * 1e3


def fitted(
    device: DeviceProfile,
    precision: str,
    known: Sequence[tuple[KernelCounts, float]],
) -> Efficiency:
    """Return the efficiencies for which the logarithms of times are nearest to published ones.

    Args:
        device: its peak rates and bandwidth stay.
        precision: fp32 or int8.
        known: what a network takes, and its published time in ms.
    """

    def parts(values: Any) -> Efficiency:
        shares = {kind: 1 / (1 + math.exp(-v)) for kind, v in zip(_KINDS, values, strict=False)}
        cache_ns = math.exp(values[3])
        return Efficiency(**shares, half_inputs=_HALF_INPUTS, cache_ns_per_byte=cache_ns)

    def loss(values: Any) -> float:
        changed = device.model_copy(update={f"{precision}_efficiency": parts(values)})
        ratios = [math.log(milliseconds(changed, c, precision) / ms) for c, ms in known]
        # Few networks for four numbers: held near what they are without any knowledge.
        return float(np.mean(np.square(ratios)) + 1e-3 * np.square(values - _START).sum())

    how = {"maxiter": 1500, "adaptive": True}
    found = minimize(loss, _START, method="Nelder-Mead", options=how)
    return parts(found.x)


#: Half of the peak for convolutions, a tenth for grouped ones; 2 GB/s of feature maps. What a layer
#: takes besides cannot be told from networks as large as these, and stays zero.
_START = np.array([0.0, 0.0, -2.2, math.log(0.5)])
#: Two vectors of four lanes; fits that are free to choose take more, from layers that are also the
#: largest feature maps, and then pruned networks of few channels are the ones that are wrong.
_HALF_INPUTS = 8.0


def compared(case: Mapping[str, Any], counts: Mapping[str, KernelCounts]) -> list[dict[str, Any]]:
    """Return, for every network of a case, published and computed times."""
    device, precision = find_device(case["device"]), case["precision"]
    known = [(counts[name], float(ms)) for name, ms in case["ms"].items()]
    rows = []
    for i, (name, ms) in enumerate(case["ms"].items()):
        by_profile = milliseconds(device, counts[name], precision)
        row = {"network": name, "published_ms": ms, "profile_ms": by_profile}
        if not case.get("only_compared") and len(known) > 5:
            others = fitted(device, precision, known[:i] + known[i + 1 :])
            without = device.model_copy(update={f"{precision}_efficiency": others})
            row["left_out_ms"] = milliseconds(without, counts[name], precision)
        rows.append(row)
    return rows


def spread(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    """Return the error between networks: the largest ratio to published times over the least."""
    ratios = [row[key] / row["published_ms"] for row in rows]
    return max(ratios) / min(ratios)


def cases() -> list[dict[str, Any]]:
    """Return the published tables."""
    return list(read_yaml(PUBLISHED)["cases"])


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Return every case with its rows, and the efficiencies that a fit to all of it finds."""
    found = []
    for case in cases():
        counts = {name: counts_of(name, case["size"]) for name in case["ms"]}
        known = [(counts[name], float(ms)) for name, ms in case["ms"].items()]
        found.append({**case, "rows": compared(case, counts)})
        if not case.get("only_compared"):
            parts = fitted(find_device(case["device"]), case["precision"], known)
            found[-1]["fitted"] = parts.model_dump()
    return {"cases": found}


def page(result: dict[str, Any]) -> str:
    """Return the page."""
    parts: list[str] = []
    for case in result["cases"]:
        rows = case["rows"]
        parts += [f"## {case['device']}, {case['precision']}", f"Published: {case['source']}."]
        parts.append(
            table(
                {
                    "network": row["network"],
                    "published ms": f"{row['published_ms']:.1f}",
                    "profile ms": f"{row['profile_ms']:.1f}",
                    "ratio": f"{row['profile_ms'] / row['published_ms']:.2f}",
                    "fitted without it, ms": row.get("left_out_ms"),
                }
                for row in rows
            )
        )
        told = f"Largest ratio over least: {spread(rows, 'profile_ms'):.2f}"
        if all("left_out_ms" in row for row in rows):
            left_out = spread(rows, "left_out_ms")
            told += f"; each network with efficiencies fitted to the others: {left_out:.2f}"
        if "fitted" in case:
            fit = ", ".join(f"{name} {value:.3g}" for name, value in case["fitted"].items())
            told += f". A fit to all of them: {fit}"
        parts.append(f"{told}.")
    return render(
        "devices",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        rows="\n\n".join(parts),
    )


if __name__ == "__main__":
    Study(
        "devices",
        "times by device profiles beside published ones",
        measured,
        page,
        packages=("rfprune", "torch", "torchvision", "timm", "scipy"),
    ).run()
