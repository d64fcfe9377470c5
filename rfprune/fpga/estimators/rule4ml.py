"""The surrogate rule4ml (arXiv 2408.05314) behind the same `Estimate`.

Uses the optional package rule4ml 0.2 (extra ``rule4ml``; GPL-3.0, pulls TensorFlow). It predicts
logic synthesis of dense networks on four boards with one precision and one strategy for the whole
network, trained at 10 ns and io_parallel. It does not see weights, so pruning changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rfprune.core.quantities import Resources
from rfprune.errors import MissingExtraError, SpecError
from rfprune.fpga.estimators.design import Design, LayerDesign
from rfprune.fpga.estimators.layer_columns import tool_of
from rfprune.fpga.estimators.result import Estimate

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BOARDS", "check_installed", "configuration", "estimate", "network"]

#: Device -> board name of rule4ml (its `supported_boards.json`).
BOARDS = {
    "xc7z020": "pynq-z2",
    "xczu9eg": "zcu102",
    "xcu200": "alveo-u200",
    "xcu250": "alveo-u250",
}
_LABELS = {"dsp": "DSP", "bram18": "BRAM", "lut": "LUT", "ff": "FF"}
_TYPES = ("dense", "relu", "sigmoid", "tanh", "softmax")


def configuration(design: Design) -> dict[str, Any]:
    """Return the hls4ml configuration that rule4ml reads.

    Raises:
        SpecError: a part, strategy or layer outside what rule4ml was trained on.
    """
    board = BOARDS.get(design.device.name)
    if board is None:
        raise SpecError(
            f"{design.name}: rule4ml does not know part {design.device.name}. Allowed: "
            f"{', '.join(BOARDS)}."
        )
    dense = [layer for layer in design.layers if layer.type == "dense"]
    other = next((layer for layer in design.layers if layer.type not in _TYPES), None)
    if other is not None or not dense:
        name = "no dense layer" if other is None else f"layer '{other.name}' of type {other.type}"
        raise SpecError(f"{design.name}: {name}. Allowed with rule4ml: {', '.join(_TYPES)}.")
    strategies = {design.strategy_of(layer) for layer in dense}
    if len(strategies) > 1:
        raise SpecError(f"{design.name}: mixes {', '.join(sorted(strategies))}. Allowed: one.")
    # Without rounding and overflow, which rule4ml does not know.
    precision = (dense[0].weight_precision or design.precision).split(",RND")[0].rstrip(">") + ">"
    strategy = "Latency" if strategies == {"latency"} else "Resource"
    return {
        "board": board,
        "model": {
            "strategy": strategy,
            "precision": f"ap_{precision}".replace(",", ", "),
            "reuse_factor": max(layer.reuse_factor for layer in dense),
        },
        "layer_name": {_node(layer): {"reuse_factor": layer.reuse_factor} for layer in dense},
    }


def _node(layer: LayerDesign) -> str:
    """Return the name of a layer's module, which torch.fx turns into the node's name as it is."""
    return "layer_" + "".join(c if c.isalnum() else "_" for c in layer.name.lower())


def network(design: Design) -> nn.Module:
    """Return an untrained torch network of the design's shape."""
    from torch import nn

    made: OrderedDict[str, nn.Module] = OrderedDict()
    kinds: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "softmax": nn.Softmax,
    }
    for layer in design.layers:
        if layer.type == "dense":
            made[_node(layer)] = nn.Linear(layer.n_in or layer.n_out, layer.n_out)
        else:
            kind = kinds[layer.type]
            made[_node(layer)] = kind(-1) if layer.type == "softmax" else kind()
    return nn.Sequential(made)


def estimate(design: Design) -> Estimate:
    """Return what rule4ml's shipped model predicts.

    Raises:
        SpecError: a part, strategy or layer outside what rule4ml was trained on.
        MissingExtraError: rule4ml is not installed.
    """
    settings = configuration(design)
    tool, year = tool_of(design)
    frame = _models().predict(
        network(design),
        hls_configs=settings,
        hls4ml_versions="1.1.0",
        vivado_versions=f"{min(max(year, 2019.1), 2024.2):.1f}",
    )
    row = frame.iloc[0].to_dict()
    total = Resources(**{name: _count(row.get(label)) for name, label in _LABELS.items()})
    return Estimate(
        source="rule4ml",
        predicts="synthesis",
        total=total,
        latency_cycles=_count(row.get("CYCLES")),
        ii_cycles=_count(row.get("INTERVAL")),
        clock_ns=design.clock_ns,
        tool=f"{tool} {year}",
        synthesis=total,
        notes=("A surrogate trained at 10 ns and io_parallel; it does not see weights.",),
    )


def check_installed() -> None:
    """Raise a MissingExtraError if the package rule4ml is not installed."""
    _wrapper_class()


def _wrapper_class() -> Any:
    try:
        from rule4ml.models.wrappers import MultiModelWrapper
    except ImportError as error:
        raise MissingExtraError(
            "estimator rule4ml needs the package rule4ml: pip install 'rfprune[rule4ml]' "
            f"(or pip install 'rule4ml>=0.2,<0.3'); {error}."
        ) from None
    return MultiModelWrapper


@lru_cache(maxsize=1)
def _models() -> Any:
    """Return rule4ml's shipped models, loaded once."""
    wrapper = _wrapper_class()()
    wrapper.load_default_models()
    return wrapper


def _count(value: float | None) -> int | None:
    return None if value is None or value != value else max(round(value), 0)
