"""What hls4ml lacks, in its extension interface: a gather, a sum, and a second reuse factor.

``cpp/nnet_wires.h`` is the C++ of the two layers; a project that has one of them gets the file.
Both weights of a recurrent layer get one reuse factor of hls4ml, though its code has one for each.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from math import ceil, log2
from pathlib import Path
from typing import Any

__all__ = ["copy_sources", "register"]

_HEADER = "nnet_wires.h"
_GATHER = """struct config{index} {{
    static const unsigned n_in = {n_in};
    static const unsigned n_out = {n_out};
    static const unsigned index[n_out];
}};
const unsigned config{index}::index[] = {{{indices}}};\n"""
_SUM = """struct config{index} {{
    static const unsigned n_in = {n_in};
    static const unsigned n_out = {n_out};
    static const unsigned n_sum = {n_sum};
    static const unsigned step_out = {step_out};
    static const unsigned step_sum = {step_sum};
    typedef ap_{u}fixed<{width}, {integer}> accum_t;
}};\n"""
_CALL = "nnet::{function}<{input_t}, {output_t}, {config}>({input}, {output});"


@cache
def register(backend: str) -> None:
    """Tell hls4ml of the layers, once for each backend."""
    from hls4ml.backends import get_backend
    from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
    from hls4ml.model.layers import Layer, layer_map, register_layer

    class _Own(Layer):  # type: ignore[misc]
        def initialize(self) -> None:
            self.add_output_variable(list(self.get_attr("shape")))

    # hls4ml keeps one table for all backends; a second class of a name would not be the first.
    for name in ("Gather", "Sum"):
        if name not in layer_map:
            register_layer(name, type(name, (_Own,), {}))

    class _GatherConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(layer_map["Gather"])

        def format(self, node: Any) -> str:
            index = node.get_attr("gathered")
            return _GATHER.format(
                index=node.index,
                n_in=node.get_input_variable().size(),
                n_out=len(index),
                indices=", ".join(map(str, index)),
            )

    class _SumConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(layer_map["Sum"])

        def format(self, node: Any) -> str:
            read = node.get_input_variable()
            kind, n_sum = read.type.precision, node.get_attr("n_sum")
            more = ceil(log2(n_sum)) if n_sum > 1 else 0
            return _SUM.format(
                index=node.index,
                n_in=read.size(),
                n_out=read.size() // n_sum,
                **{name: node.get_attr(name) for name in ("n_sum", "step_out", "step_sum")},
                u="" if kind.signed else "u",
                width=kind.width + more,
                integer=kind.integer + more,
            )

    def call(name: str) -> type:
        class _Call(FunctionCallTemplate):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(layer_map[name], include_header=[f"nnet_utils/{_HEADER}"])
                self.name = f"{name.lower()}_call"

            def format(self, node: Any) -> str:
                return _CALL.format(function=name.lower(), **self._default_function_params(node))

        return _Call

    _give_both_reuse_factors()
    for template in (_GatherConfig, _SumConfig, call("Gather"), call("Sum")):
        get_backend(backend).register_template(template)


@cache
def _give_both_reuse_factors() -> None:
    """Register a pass behind those that initialise layers; Vitis runs those of Vivado."""
    from hls4ml.backends import get_backend
    from hls4ml.model.layers import GRU, LSTM
    from hls4ml.model.optimizer import OptimizerPass

    class _BothReuseFactors(OptimizerPass):  # type: ignore[misc]
        def match(self, node: Any) -> bool:
            return isinstance(node, GRU | LSTM)

        def transform(self, model: Any, node: Any) -> bool:
            node.set_attr("recurrent_reuse_factor", node.get_attr("own_recurrent_reuse_factor"))
            return False

    name = "own_recurrent_reuse_factor"
    get_backend("Vivado").register_pass(name, _BothReuseFactors, flow="vivado:optimize")


#: Two lines of ``lstm`` in hls4ml 1.3's ``nnet_recurrent.h``, and what they have to be.
_LSTM_SUMS = {
    f"nnet::dense<data_T, res_T, typename CONFIG_T::mult_config{number}>": (
        f"nnet::dense<{reads}, typename CONFIG_T::accum_t, typename CONFIG_T::mult_config{number}>"
    )
    for number, reads in ((1, "data_T"), (2, "res_T"))
}


def copy_sources(graph: Any, project: Path) -> None:
    """Write the C++ of these layers into a project that has any of them.

    The kernel of an LSTM is written twice, and the one that is never called does not compile where
    data, sums and states have other types: it takes one for the other. There it is corrected.
    """
    recurrent = [node for node in graph.get_layers() if node.class_name in ("GRU", "LSTM")]
    if recurrent:
        parameters = project / "firmware" / "parameters.h"
        text = parameters.read_text()
        for node in recurrent:
            text = _with_own_loop(text, node)
        parameters.write_text(text)
        header = project / "firmware" / "nnet_utils" / "nnet_recurrent.h"
        text = header.read_text()
        for written, meant in _LSTM_SUMS.items():
            text = text.replace(written, meant)
        header.write_text(text)
    if any(node.class_name in ("Gather", "Sum") for node in graph.get_layers()):
        source = files("rfprune.fpga.hls").joinpath("cpp", _HEADER).read_text(encoding="ascii")
        (project / "firmware" / "nnet_utils" / _HEADER).write_text(source, encoding="ascii")


def _with_own_loop(parameters: str, node: Any) -> str:
    """Return a project's parameters where the products with a state have the loop that they need.

    hls4ml 1.3 picks it by the reuse factor of the other weight (``recurrent_templates.py``); up to
    the number of units another loop is needed than above it, and the wrong one stops or is wrong.
    """
    units = node.get_output_variable().shape[-1]
    factor = node.get_attr("recurrent_reuse_factor")
    loop = "rf_leq_nin" if factor <= units else "rf_gt_nin_rem0"
    # Within its own struct: in other strategies it has no such loop, and the next is another's.
    own = rf"struct config{node.index}_2 : (?:(?!\bstruct ).)*?"
    products = rf"({own}using kernel = nnet::DenseResource_)\w+(?=<)"
    return re.sub(products, rf"\g<1>{loop}", parameters, count=1, flags=re.DOTALL)
