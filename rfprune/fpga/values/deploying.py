"""Which deployment a method that chooses values gets: by strategy and backend."""

from __future__ import annotations

from torch import nn

from rfprune.errors import NetworkError, SpecError
from rfprune.fpga.adders.deployment import AdderDeployment
from rfprune.fpga.layers import Network, plan
from rfprune.fpga.unrolled.deployment import check_unrolled
from rfprune.fpga.values.deployment import LatencyValues, UnrolledValues
from rfprune.spec import TrialSpec

__all__ = ["ValuesDeployment", "deploy_values"]

ValuesDeployment = AdderDeployment | LatencyValues | UnrolledValues


def deploy_values(spec: TrialSpec, network: Network, model: nn.Module) -> ValuesDeployment:
    """Return a traced network on its FPGA.

    Raises:
        SpecError: settings that have no meaning there.
        NetworkError: a network that cannot be built so.
    """
    for layer in network.layers:
        if layer.kind.gates:
            raise NetworkError(
                f"{layer.operation}: method {spec.prune.method} chooses the values of layers with "
                f"one weight, and a layer of type {layer.kind.name} has two. Allowed: another "
                "prune.method."
            )
    planned = spec.hardware.strategy == "latency" or spec.hardware.backend == "alkaid"
    if planned and spec.prune.method == "ebops":
        raise SpecError(
            f"prune.method: ebops learns the bits of graphs that da4ml builds, and hardware has "
            f"strategy {spec.hardware.strategy}, backend {spec.hardware.backend}. Allowed: "
            f"strategy distributed_arithmetic with backend Vitis, or prune.method: widths."
        )
    if spec.hardware.strategy == "latency":
        return LatencyValues(spec, plan(network, spec.hardware), model)
    if spec.hardware.backend == "alkaid":
        check_unrolled(spec.hardware)
        return UnrolledValues(spec, plan(network, spec.hardware))
    return AdderDeployment(spec, network, model)
