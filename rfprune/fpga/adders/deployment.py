"""A network as a graph of adders: what a trial measures of it, and what is exported."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.files import write_json
from rfprune.core.markdown import bullets, grid
from rfprune.core.quantities import Resources
from rfprune.core.tables import Column
from rfprune.errors import NetworkError, SimulationError, SpecError
from rfprune.fpga.adders.chain import chain_of, without_bias
from rfprune.fpga.adders.digits import digit_counts
from rfprune.fpga.adders.graph import mapped_lut
from rfprune.fpga.adders.learned import LearnedPrunable
from rfprune.fpga.adders.numbers import constants
from rfprune.fpga.adders.prunable import AdderPrunable
from rfprune.fpga.emulator import write_circuit_emulator
from rfprune.fpga.estimators import Estimate, measures_rtl
from rfprune.fpga.estimators.da4ml import AdderGraph
from rfprune.fpga.estimators.ports import TOP, estimate_of, measure_graph
from rfprune.fpga.layers import Network
from rfprune.fpga.proof.circuit import CircuitPaths, prove_circuit, refuse_constants
from rfprune.hardware.parts import find_part
from rfprune.pruning import Masks, Session
from rfprune.spec import TrialSpec
from rfprune.trial.proof import Asked, Proof
from rfprune.trial.target import Bundle, Deployment, ExportedParts, LayerTable, Measured

__all__ = ["AdderDeployment"]

_STRATEGY = "distributed_arithmetic"
_ESTIMATORS = ("adders", "da4ml", "yosys", "nextpnr")
#: Bits behind the point of a bias of outputs that are compared with each other.
_COMPARED_BIAS = 4
#: Rows whose outputs are compared with torch in an export.
_ROWS = 1000


class AdderDeployment(Deployment):
    """A network whose weights are constants, one inference in every cycle."""

    prunable: AdderPrunable

    def __init__(self, spec: TrialSpec, network: Network, model: nn.Module) -> None:
        """Check what the method takes, and read the chain of layers.

        Raises:
            SpecError: a setting that has no meaning here.
            NetworkError: a network that is no chain.
        """
        _check(spec)
        self.spec, self.network = spec, network
        self.part = find_part(spec.hardware.part)
        self.device = self.part.name
        chain = chain_of(network)
        lacking = without_bias(chain, model)
        if lacking is not None:
            raise NetworkError(
                f"{lacking}: has no bias that could take over the shift of the batch norm beside "
                f"it. Allowed with method widths: bias=True."
            )
        learns = spec.prune.method == "ebops"
        self.prunable = (LearnedPrunable if learns else AdderPrunable)(chain, spec.prune)
        self.prunable.numbers.last_bias = _last_bias(spec)

    def notes(self) -> list[str]:
        """Nothing: what is not taken is refused."""
        return []

    def dense_quantities(self, model: nn.Module) -> dict[str, float | None]:
        """Return LUTs of a graph in which every weight has its nearest value, by the model."""
        lut = self.prunable.model_cost(model) / self.prunable.numbers.scale
        return {"dsp": 0.0, "bram18": 0.0, "lut": round(lut), "ff": None, "ii_cycles": 1.0}

    def share(self, quantity: str, value: float) -> float | None:
        """Return what part of the FPGA's resource a value is."""
        available = getattr(self.part, quantity, None)
        return value / available if available else None

    def layer_table(self) -> LayerTable:
        """Return sizes of the layers."""
        layers = self.prunable.chain.layers
        rows = [
            {"name": each.name, "n_in": each.n_in, "n_out": each.n_out, "strategy": _STRATEGY}
            for each in layers
        ]
        columns = [
            Column("layer", [each.name for each in layers], left=True, needed=True),
            Column("matrix", [f"{each.n_in} x {each.n_out}" for each in layers]),
            Column("weights", [f"{each.n_in * each.n_out:,}" for each in layers]),
        ]
        return LayerTable("layers", rows, "Layers", "every weight a constant", columns)

    def measure(self, session: Session, scratch: Path) -> Measured:
        """Build the adder graph of the network as it is now, and count it."""
        parts = constants(self.prunable.chain, session.model, self.prunable.numbers)
        live = {layer.name: int((weight != 0).sum()) for layer, weight, _ in parts}
        total = {layer.name: weight.size for layer, weight, _ in parts}
        names = {layer.name: _STRATEGY for layer, _, _ in parts}
        zeros = 1 - sum(live.values()) / sum(total.values())
        # The dense step: a graph of every digit is large, and nobody builds it.
        if session.masks is None:
            quantities = self.dense_quantities(session.model)
            costs: dict[str, object] = {"total": quantities}
        else:
            found = self.estimate(session.model, self.spec.estimator)
            quantities, costs = found.quantities(), found.to_json(self.part)
        return Measured(
            quantities={"sparsity": zeros if session.masks is not None else 0.0, **quantities},
            live=live,
            groups=total,
            costs=costs,
            reuse_factor=dict.fromkeys(live, 1),
            strategy=names,
        )

    def estimate(self, model: nn.Module, by: str) -> Estimate:
        """Return the cost of the adder graph: by its count, corrected or da4ml's own, or measured.

        Raises:
            SpecError: another estimator.
        """
        _check_estimator(by)
        graph, clock_ns = self.prunable.graph(model), self.spec.hardware.clock_ns
        notes = (f"Strategy {_STRATEGY}.",)
        if measures_rtl(by):
            return measure_graph(graph, by, self.part, clock_ns, notes)
        lut = graph.lut if by == "da4ml" else mapped_lut(graph)
        found = Resources(dsp=0, bram18=0, lut=lut, ff=graph.ff)
        tool = "adder graph, as Yosys maps such"
        if by == "da4ml":
            tool = "da4ml adder graph"
        return estimate_of(graph, found, by, tool, clock_ns, notes)

    def figures(self, model: nn.Module) -> dict[str, float | None]:
        """Return what the adder graph takes by its own count, by quantity."""
        found = self.estimate(model, "adders")
        cycles = {"latency_cycles": found.latency_cycles, "ii_cycles": found.ii_cycles}
        return {"lut": found.total.lut, "ff": found.total.ff, **cycles}

    def final(self, model: nn.Module, masks: Masks) -> nn.Module:
        """Return a copy whose weights and biases are the constants of the circuit."""
        final = copy.deepcopy(model)
        with torch.no_grad():
            for layer, weight, bias in constants(self.prunable.chain, model, self.prunable.numbers):
                linear = layer.of(final)
                linear.weight.copy_(torch.from_numpy(weight))
                if linear.bias is not None:
                    linear.bias.copy_(torch.from_numpy(bias))
        return final

    def export(self, bundle: Bundle) -> ExportedParts:
        """Write the Verilog of the adder graph, and what torch and the graph compute beside it.

        Raises:
            SimulationError: they disagree, and `force` is not set; or no input is read.
        """
        model, data = bundle.model, bundle.prepared.data
        bundle.say("building the adder graph")
        graph = self.prunable.graph(model)
        refuse_constants(graph, bundle)
        graph.write_verilog(bundle.folder / "rtl", TOP, self.spec.hardware.clock_ns)
        x = data.x_test[: _ROWS if bundle.rows is None else max(bundle.rows, 1)]
        # In double, where sums of these numbers are exact.
        exact = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            output = self.prunable.deployed(exact)(x.double())
            expected = self.prunable.chain.joined(output).numpy()
        built = graph.predict(x.flatten(1).double().numpy())
        equal = bool(np.array_equal(expected, built))
        error = float(np.abs(expected - built).max())
        if not equal and not bundle.force:
            raise SimulationError(
                f"{bundle.trial}: the adder graph and torch differ by up to {error:g} on "
                f"{len(x)} test rows; export --force writes it anyway."
            )
        write_json(
            bundle.folder / "parity.json",
            {"rows": len(x), "equal": equal, "largest_error": error, "compared": "adder graph"},
        )
        proof = self._proof(bundle, graph, x)
        chain, numbers = self.prunable.chain, self.prunable.numbers
        rows = x.flatten(1).double().numpy()
        write_circuit_emulator(bundle.folder, chain, model, numbers, graph.ports()[1], rows, built)
        np.savez_compressed(
            bundle.folder / "test_vectors.npz", x=x.numpy(), torch=expected, graph=built
        )
        found = self.estimate(model, self.spec.estimator)
        masks = {name: mask.bool() for name, mask in bundle.masks.items()}
        same = "equal to" if equal else "not equal to"
        return ExportedParts(
            facts=[f"The adder graph is {same} torch, bit for bit, on {len(x)} test rows."],
            summary=[
                f"{bundle.record.values['sparsity']:.1%} of the weights are zero (step "
                f"{bundle.record.step})",
                f"{found.total.lut:.0f} LUT, {found.total.ff:.0f} FF, {graph.stages} cycles, by "
                f"{found.tool}; a new inference every cycle of "
                f"{self.spec.hardware.clock_ns:g} ns",
            ],
            report="\n\n".join(["## Layers", self._layers(model), "## Circuit", _CIRCUIT]),
            masks=masks,
            saved={"masks": masks, "values": self.prunable.values()},
            estimate=found.to_json(self.part),
            proof=proof,
        )

    def _proof(self, bundle: Bundle, graph: AdderGraph, x: Tensor) -> Proof:
        """Compare the module with the graph, its RTL and its netlist, where there are tools."""
        paths = CircuitPaths(graph, bundle.folder / "rtl")
        chain, numbers = self.prunable.chain, self.prunable.numbers
        asked = Asked(say=bundle.say, builds=bundle.rows != 0)
        proof = prove_circuit(chain, bundle.model, numbers, paths, x.double(), asked)
        wrong = proof.all_faults()
        if wrong and not bundle.force:
            raise SimulationError(f"{bundle.trial}: {wrong[0]} --force exports it anyway.")
        return proof

    def _layers(self, model: nn.Module) -> str:
        numbers = self.prunable.numbers
        rows = []
        for index, (layer, weight, _) in enumerate(constants(self.prunable.chain, model, numbers)):
            digits = int(digit_counts(weight).sum())
            bits = numbers.bits(index, layer.signed)
            read = (weight != 0).any(axis=0)
            mean = f"{bits[read].mean():.1f}" if read.any() else "-"
            cells = [layer.name, str(weight.size), str(int((weight != 0).sum())), str(digits)]
            rows.append([*cells, f"{int(read.sum())} of {layer.n_in}", mean])
        return grid(["layer", "weights", "not zero", "digits", "inputs read", "bits each"], rows)


_CIRCUIT = bullets(
    [
        "`rtl/` holds the Verilog of the graph (top module `network`) and scripts for Vivado.",
        "`test_vectors.npz` holds scaled inputs `x`, and the outputs of torch and of the graph.",
        "`model.pt` and `model.onnx` have the constants of the circuit as their weights; they do "
        "not round activations.",
    ]
)


def _last_bias(spec: TrialSpec) -> int:
    """Return the bits behind the point of the outputs' biases: few where outputs are compared."""
    compared = spec.task.name in ("classification", "multilabel")
    return _COMPARED_BIAS if compared else spec.prune.widths.fraction_bits


def _check(spec: TrialSpec) -> None:
    """Refuse what has no meaning here, before anything is trained."""
    for name in spec.prune.budget:
        if name != "lut":
            raise SpecError(
                f"prune.budget.{name}: method {spec.prune.method} takes a budget of lut so far. "
                f"Allowed: prune.budget: {{lut: 1000}}, or '10 %'."
            )
    if spec.hardware.reuse_factor != 1:
        raise SpecError(
            f"hardware.reuse_factor: is {spec.hardware.reuse_factor}; with strategy {_STRATEGY} "
            f"every weight is a circuit of its own. Allowed: 1."
        )
    if spec.hardware.layers or spec.prune.layers:
        key = "hardware.layers" if spec.hardware.layers else "prune.layers"
        raise SpecError(
            f"{key}: method {spec.prune.method} has no settings by layer yet. Allowed: none."
        )
    if spec.train.function is not None:
        raise SpecError(
            "train.function: method widths chooses while it trains, in the training loop of "
            "rfprune. Allowed: no function."
        )
    _check_estimator(spec.estimator)


def _check_estimator(by: str) -> None:
    if by not in _ESTIMATORS:
        raise SpecError(
            f"estimator: '{by}' does not know graphs of adders. Allowed with strategy {_STRATEGY}: "
            f"{', '.join(_ESTIMATORS)}."
        )
