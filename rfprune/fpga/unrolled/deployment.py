"""A network wholly unrolled by alkaid: what a trial measures of it, and what is exported.

What an export holds to build it with: `rfprune.fpga.unrolled.sources`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rfprune.core.files import write_json
from rfprune.core.markdown import bullets, grid
from rfprune.core.named import Named
from rfprune.core.quantities import Resources
from rfprune.errors import NetworkError, SimulationError, SpecError, WorkError
from rfprune.fpga.estimators import Estimate, measures_rtl
from rfprune.fpga.estimators.ports import AdderCircuit, estimate_of, measure_graph
from rfprune.fpga.layers import UNROLLED, Plan
from rfprune.fpga.proof.circuit import CircuitPaths, refuse_constants
from rfprune.fpga.target import FpgaDeployment
from rfprune.fpga.unrolled.circuit import UnrolledGraph, build_unrolled
from rfprune.fpga.unrolled.proof import flat_inputs, in_types, prove_unrolled
from rfprune.fpga.unrolled.prunable import UnrolledPrunable
from rfprune.fpga.unrolled.sources import Vectors, write_sources
from rfprune.pruning import Session
from rfprune.spec import TrialSpec
from rfprune.spec.hardware import HardwareSpec, LayerHardware
from rfprune.trial.proof import Asked
from rfprune.trial.target import Bundle, ExportedParts, Measured

__all__ = ["UnrolledDeployment", "check_unrolled", "check_unrolled_trial"]

_ESTIMATORS = ("adders", "yosys", "nextpnr")
#: Products that are unrolled: alkaid takes about a millisecond for each.
_MOST_PRODUCTS = 50_000
#: Test rows whose outputs are compared with torch in an export.
_ROWS = 1000


class UnrolledDeployment(FpgaDeployment):
    """A network whose weights are constants, one inference in every cycle."""

    _known: tuple[bytes, UnrolledGraph] | None = None

    def __init__(self, spec: TrialSpec, planned: Plan, structure: str | None) -> None:
        """Check what has a meaning here, and group the weights.

        Raises:
            SpecError: a setting that has none.
            NetworkError: more products than alkaid can unroll.
        """
        check_unrolled_trial(spec, planned)
        super().__init__(spec, planned, structure)
        groups = self.prunable.groups
        self.prunable = UnrolledPrunable(groups, spec.prune.fixed_point, self._lut)

    def graph(self, model: nn.Module) -> UnrolledGraph:
        """Return the graph of a network; that of the last one is kept.

        Raises:
            MissingExtraError: alkaid is not installed.
            NetworkError: an operation that alkaid does not take.
        """
        parts = [part.detach().cpu().numpy().tobytes() for part in model.state_dict().values()]
        key = b"".join([repr(self.plan.types).encode(), *parts])
        if self._known is None or self._known[0] != key:
            self._known = key, build_unrolled(model, self.plan)
        return self._known[1]

    def check_called(self, model: nn.Module, x: Any) -> None:
        """Compare what was lowered with the network as it is called, and the graph with both."""
        super().check_called(model, x)
        self._compared(model, x)
        self.prunable.start(model)

    def _lut(self, model: nn.Module) -> float:
        return self.graph(model).lut

    def _compared(self, model: nn.Module, x: Any) -> UnrolledGraph:
        """Return the graph of a network, which computes what torch does on a few rows."""
        graph = self.graph(model)
        found = graph.predict(flat_inputs(self.plan, x))
        if not np.array_equal(found, in_types(self.plan, model, x)):
            raise NetworkError(
                "alkaid builds something else than torch computes in these types. Use hls4ml "
                "(backend Vitis), or other types."
            )
        return graph

    def rehearse(self, model: nn.Module, x: Any) -> list[str]:
        """Build the graph of the untrained network, and compare it with torch on a few rows."""
        graph = self._compared(model, x)
        return [
            f"alkaid builds the untrained network, and its graph is torch's on {len(x)} rows: "
            f"{graph.lut:,} LUT, {graph.stages} cycles."
        ]

    def dense_quantities(self, model: nn.Module) -> dict[str, float | None]:
        """Return what the graph of the dense network takes."""
        return self.estimate(model, "adders").quantities()

    def estimate(self, model: nn.Module, by: str) -> Estimate:
        """Return the cost of the graph of a network, by its own count or measured.

        Raises:
            SpecError: another estimator.
        """
        _check_estimator(by)
        return self._estimate(self.graph(model), by)

    def _estimate(self, graph: UnrolledGraph, by: str) -> Estimate:
        clock_ns, notes = self.spec.hardware.clock_ns, (f"Strategy {UNROLLED}.",)
        if measures_rtl(by):
            return measure_graph(graph, by, self.part, clock_ns, notes)
        found = Resources(dsp=0, bram18=0, lut=graph.lut, ff=graph.ff)
        return estimate_of(graph, found, by, "alkaid's graph", clock_ns, notes)

    def figures(self, graph: AdderCircuit) -> dict[str, float | None]:
        """Return what a graph takes by its own count, by quantity."""
        cycles = {"latency_cycles": graph.stages, "ii_cycles": 1}
        return {"lut": graph.lut, "ff": graph.ff, **cycles}

    @property
    def part(self) -> Any:
        """The FPGA."""
        return self.plan.part

    def measure(self, session: Session, scratch: Path) -> Measured:
        """Build the graph of the network as it is now, and count it."""
        model = session.model
        found, layers = self.estimate(model, self.spec.estimator), self.plan.layers
        live = {each.name: int((each.layer.weight_of(model) != 0).sum()) for each in layers}
        total = {each.name: each.layer.n_weights for each in layers}
        return Measured(
            quantities={
                "sparsity": 1 - sum(live.values()) / max(sum(total.values()), 1),
                **found.quantities(),
                "fits": float(found.fits(self.plan.part)),
            },
            live=live,
            groups=total,
            costs=found.to_json(self.plan.part),
            reuse_factor=dict.fromkeys(live, 1),
            strategy=dict.fromkeys(live, UNROLLED),
        )

    def measure_moved(self, session: Session, scratch: Path) -> Measured:
        """Build it again: the clock decides where the registers are."""
        return self.measure(session, scratch)

    def export(self, bundle: Bundle) -> ExportedParts:
        """Write the RTL, and what torch and the graph compute beside it.

        Raises:
            SimulationError: they disagree, and `force` is not set; or no input is read.
        """
        model = bundle.final
        bundle.say("building the graph of adders")
        graph = self.graph(model)
        refuse_constants(graph, bundle)
        paths = CircuitPaths(graph, bundle.folder / "rtl")
        rows = _ROWS if bundle.rows is None else max(bundle.rows, 1)
        x = bundle.prepared.data.x_test[:rows]
        flat, expected = flat_inputs(self.plan, x), in_types(self.plan, model, x)
        built = graph.predict(flat)
        error = float(np.abs(expected - built).max())
        write_sources(bundle.folder, self.plan, graph, Vectors(x, flat, expected))
        facts = {"rows": len(x), "equal": error == 0, "largest_error": error, "compared": "graph"}
        write_json(bundle.folder / "parity.json", facts)
        named = {f"x_{n}": p for n, p in x.parts.items()} if isinstance(x, Named) else {"x": x}
        arrays: dict[str, Any] = {name: part.numpy() for name, part in named.items()}
        np.savez_compressed(
            bundle.folder / "test_vectors.npz", torch=expected, graph=built, **arrays
        )
        proof = prove_unrolled(
            self.plan, model, paths, x, Asked(say=bundle.say, builds=bundle.rows != 0)
        )
        wrong = proof.all_faults()
        if wrong and not bundle.force:
            raise SimulationError(f"{bundle.trial}: {wrong[0]} --force exports it anyway.")
        found = self._estimate(graph, self.spec.estimator)
        masks = self._masks(bundle)
        same = "equal to" if error == 0 else "not equal to"
        return ExportedParts(
            facts=[f"The graph of adders is {same} torch, bit for bit, on {len(x)} test rows."],
            summary=[
                f"{bundle.record.values['sparsity']:.1%} of the weights are zero (step "
                f"{bundle.record.step})",
                f"{found.total.lut:.0f} LUT, {found.total.ff:.0f} FF, {graph.stages} cycles, by "
                f"{found.tool}; a new inference every cycle of "
                f"{self.spec.hardware.clock_ns:g} ns",
            ],
            report="\n\n".join(["## Layers", self._layers(model), "## Circuit", _CIRCUIT]),
            masks=masks,
            saved={"masks": masks},
            estimate=found.to_json(self.plan.part),
            proof=proof,
        )

    def _masks(self, bundle: Bundle) -> dict[str, Any]:
        found = {}
        for layer in self.plan.layers:
            weight = layer.layer.weight_of(bundle.final).detach()
            mask = bundle.masks.get(layer.name)
            found[layer.name] = weight == weight if mask is None else mask.bool()
            if bool((weight[~found[layer.name]] != 0).any()):
                raise WorkError(f"{bundle.trial}: {layer.name} has weights outside of its mask.")
        return found

    def _layers(self, model: nn.Module) -> str:
        rows = []
        for each in self.plan.layers:
            weight = each.layer.weight_of(model)
            live = int((weight != 0).sum())
            types = [str(each.weight), str(each.result), str(each.data)]
            rows.append([each.name, f"{weight.numel():,}", f"{live:,}", *types])
        return grid(["layer", "weights", "not zero", "type", "result", "data"], rows)


_CIRCUIT = bullets(
    [
        "`rtl/src/` holds the Verilog of the graph (top module `network`) and its constraints; "
        "`rtl/build_vivado_prj.tcl` and `rtl/build_yosys.sh` build it, `rtl/tb/` tests it.",
        "`vhdl/` holds the same in VHDL, `vitis/` the graph without registers as C++ for Vitis HLS "
        "(`vitis-run --mode hls --tcl build_vitis_prj.tcl`).",
        "`emulator/` computes the same integers with numpy alone: `pip install ./emulator`.",
        "`test_vectors.npz` holds scaled inputs `x`, and the outputs of torch in the types and of "
        "the graph.",
    ]
)


def check_unrolled_trial(spec: TrialSpec, planned: Plan) -> None:
    """Refuse what has no meaning here, before anything is trained.

    Raises:
        SpecError: a setting that has none.
        NetworkError: more products than alkaid can unroll.
    """
    for layer in planned.layers:
        products = layer.layer.n_weights * layer.layer.positions
        if products > _MOST_PRODUCTS:
            raise NetworkError(
                f"{layer.name}: {products:,} products, all unrolled. Allowed with backend "
                f"alkaid: {_MOST_PRODUCTS:,}, which take it about a minute; use hls4ml "
                "(backend Vitis) with a reuse factor."
            )
    for name in spec.prune.budget:
        if name != "lut":
            raise SpecError(
                f"prune.budget.{name}: backend alkaid takes a budget of lut alone. Allowed: "
                "prune.budget: {lut: '30 %'}."
            )
    _check_estimator(spec.estimator)


def check_unrolled(hardware: HardwareSpec) -> None:
    """Refuse settings of HLS.

    Raises:
        SpecError: names the key, the value and what is allowed.
    """
    places: list[tuple[str, HardwareSpec | LayerHardware]] = [("hardware.", hardware)]
    places += [(f"hardware.layers.{name}.", own) for name, own in hardware.layers.items()]
    for place, each in places:
        if each.reuse_factor not in (None, 1):
            raise SpecError(
                f"{place}reuse_factor: is {each.reuse_factor}; backend alkaid builds every weight "
                "as a circuit of its own. Allowed: 1."
            )
        if each.strategy not in (None, UNROLLED):
            raise SpecError(
                f"{place}strategy: is {each.strategy}. Allowed with backend alkaid: {UNROLLED}."
            )
    if hardware.io_type != "io_parallel":
        raise SpecError("hardware.io_type: is io_stream. Allowed with backend alkaid: io_parallel.")


def _check_estimator(by: str) -> None:
    if by not in _ESTIMATORS:
        raise SpecError(
            f"estimator: '{by}' does not know graphs of alkaid. Allowed with backend alkaid: "
            f"{', '.join(_ESTIMATORS)}."
        )
