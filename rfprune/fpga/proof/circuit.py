"""An adder graph beside the user's module, its RTL and its netlist."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.core.digests import sha256_of, sha256_of_parts
from rfprune.data import Scaling
from rfprune.errors import MissingExtraError, RfpruneError, SimulationError
from rfprune.fpga.adders.chain import Chain
from rfprune.fpga.adders.numbers import CircuitNumbers
from rfprune.fpga.estimators.ports import TOP, AdderCircuit, packed, unpacked
from rfprune.fpga.proof.netlist import Netlist, synthesised
from rfprune.fpga.proof.rows import InputKind, ProofRows, proof_rows
from rfprune.fpga.proof.vectors import check_estimate, check_scaling, read_vectors
from rfprune.fpga.proof.verilator import simulate_rtl
from rfprune.trial.proof import Asked, Comparison, PathFacts, Proof, torch_path

if TYPE_CHECKING:
    from rfprune.fpga.adders.deployment import AdderDeployment
    from rfprune.trial.target import Bundle

__all__ = [
    "CircuitPaths",
    "Prover",
    "compare_rtl",
    "compared",
    "prove_circuit",
    "prove_circuit_again",
    "prove_graph",
    "refuse_constants",
    "tried",
]

T = TypeVar("T")

#: Adder graphs up to so many LUTs go through Yosys: it takes about a second per 40 of them.
_LARGEST_NETLIST = 20_000
#: Cycles after the last answer is due.
_SPARE = 4


class CircuitPaths:
    """What an adder graph, its RTL and its netlist put out for rows.

    Attributes:
        graph: the adder graph.
        rtl: folder of the RTL.
        ports: of the input and of the output.
    """

    def __init__(self, graph: AdderCircuit, rtl: Path) -> None:
        """Take the graph and the folder of its RTL."""
        self.graph, self.rtl = graph, rtl
        self.ports = graph.ports()

    def simulate_rtl(self, x: FloatArray) -> tuple[FloatArray, int, str]:
        """Return (rows, n) what the RTL puts out, its latency in cycles, and Verilator's version.

        Raises:
            MissingExtraError: no Verilator.
            SimulationError: the RTL has other ports, or cannot be built or run.
        """
        bits = packed(x, self.ports[0])
        wait = self.graph.stages
        # A few cycles more: answers that come late are told from answers that are wrong.
        after = np.zeros((wait + _SPARE, bits.shape[1]), dtype=bool)
        found = simulate_rtl(
            self.rtl / "src", TOP, np.concatenate([bits, after]), self.ports[1].width
        )
        return self._at(found.bits, x, wait), wait, found.version

    def _at(self, bits: BoolArray, x: FloatArray, wait: int) -> FloatArray:
        return unpacked(bits[wait : wait + len(x)], self.ports[1])

    def netlist(self) -> Netlist:
        """Return what Yosys makes of the RTL."""
        return synthesised(self.rtl / "src", TOP)

    def simulate_netlist(self, netlist: Netlist, x: FloatArray) -> tuple[FloatArray, int]:
        """Return (rows, n) what a netlist puts out, and its latency in cycles."""
        bits, registers = netlist.simulate(packed(x, self.ports[0]))
        # The register in front of the first stage takes the row, as the clock's first edge does.
        return unpacked(bits, self.ports[1]), registers - 1


#: Compares what one path puts out for rows with what the graph does.
Prover = Callable[["CircuitPaths", FloatArray, FloatArray, ProofRows, str], Proof]


def refuse_constants(graph: AdderCircuit, bundle: Bundle) -> None:
    """Raise if a network is to be exported that reads none of its inputs.

    Raises:
        SimulationError: says so; a module without an input cannot be built.
    """
    if graph.ports()[0].width == 0:
        raise SimulationError(
            f"{bundle.trial}: step {bundle.record.step} reads none of its inputs: pruning has left "
            "constants, and there is no circuit of those. Take a step that costs more."
        )


def prove_circuit(
    chain: Chain,
    model: nn.Module,
    numbers: CircuitNumbers,
    paths: CircuitPaths,
    known: Tensor | None,
    asked: Asked,
) -> Proof:
    """Compare module, adder graph, RTL and netlist of a network in its numbers, bit for bit.

    Args:
        chain: its layers.
        model: the user's own module.
        numbers: what its weights and activations are rounded to.
        paths: of the adder graph.
        known: (rows, ...) of the test vectors, or None.
        asked: how many rows.
    """
    kind = InputKind("x", _shape(chain, known), paths.graph.kinds[0])
    rows = proof_rows([kind], known, asked.rows, asked.exhaustive)
    on_grid = rows.on_grid([kind])
    assert isinstance(on_grid, Tensor)
    x = on_grid.flatten(1).numpy()
    expected = module_in_numbers(chain, model, numbers, on_grid)
    types = f"weights and activations of the circuit, inputs {paths.graph.kinds[0]}"
    return prove_graph(model, paths, expected, x, rows, types, asked)


def prove_graph(
    model: nn.Module,
    paths: CircuitPaths,
    expected: FloatArray,
    x: FloatArray,
    rows: ProofRows,
    types: str,
    asked: Asked,
    others: Sequence[Prover] = (),
) -> Proof:
    """Compare an adder graph with what the module computes, and its RTL and netlist with it.

    Args:
        model: the user's own module.
        paths: of the graph.
        expected: (rows, outputs) of the module in the circuit's types.
        x: (rows, inputs) on the grids of the inputs.
        rows: what they are.
        types: in words.
        asked: whether RTL and netlist are built.
        others: what compares further paths with the graph.
    """
    proof, graph = Proof(), paths.graph
    built = graph.predict(x)
    proof.paths += [torch_path(model), _graph_path(graph)]
    proof.compared.append(compared("torch", "graph", expected, built, rows, types))
    proof.counted["graph"] = {"lut": graph.lut, "ff": graph.ff, "latency_cycles": graph.stages}
    if not asked.builds:
        proof.notes.append("rtl and netlist were not compared: no rows were asked for.")
        return proof
    asked.say("simulating the RTL, and synthesising and simulating its netlist")
    provers = (_prove_rtl, _prove_netlist, *others)
    # Each waits for programs of its own.
    with ThreadPoolExecutor(len(provers)) as pool:
        found = list(pool.map(lambda prove: prove(paths, x, built, rows, types), provers))
    for each in found:
        proof.add(each)
    return proof


def _shape(chain: Chain, known: Tensor | None) -> tuple[int, ...]:
    return (chain.layers[0].n_in,) if known is None else tuple(known.shape[1:])


def _graph_path(graph: AdderCircuit) -> PathFacts:
    return PathFacts("graph", graph.tool, version(graph.tool), sha256_of(graph.operations))


def _prove_rtl(
    paths: CircuitPaths, x: FloatArray, expected: FloatArray, rows: ProofRows, types: str
) -> Proof:
    proof = Proof()
    simulated = tried("rtl", proof, lambda: paths.simulate_rtl(x))
    if simulated is None:
        return proof
    found, cycles, tool = simulated
    digest = digest_of_sources(paths.rtl / "src")
    made_by = f"{paths.graph.tool} {version(paths.graph.tool)}"
    extra = {"made_by": made_by, "language": "Verilog"}
    proof.paths.append(PathFacts("rtl", "verilator", tool, digest, extra))
    proof.compared.append(compared("graph", "rtl", expected, found, rows, types))
    proof.counted["rtl"] = {"latency_cycles": cycles, "interval_cycles": 1}
    return proof


def _prove_netlist(
    paths: CircuitPaths, x: FloatArray, expected: FloatArray, rows: ProofRows, types: str
) -> Proof:
    proof = Proof()
    if paths.graph.lut > _LARGEST_NETLIST:
        proof.notes.append(f"netlist was not built: more than {_LARGEST_NETLIST:,} LUTs.")
        return proof

    def synthesised_and_simulated() -> tuple[Netlist, FloatArray, int]:
        netlist = paths.netlist()
        return netlist, *paths.simulate_netlist(netlist, x)

    simulated = tried("netlist", proof, synthesised_and_simulated)
    if simulated is None:
        return proof
    netlist, found, cycles = simulated
    proof.paths.append(PathFacts("netlist", "yosys", netlist.tool_version, netlist.sha256))
    proof.compared.append(compared("graph", "netlist", expected, found, rows, types))
    counted = netlist.counted
    proof.counted["netlist"] = {"lut": counted.lut, "ff": counted.ff, "latency_cycles": cycles}
    if cycles != paths.graph.stages:
        proof.faults.append(
            f"netlist: answers come after {cycles} cycles, in the graph after {paths.graph.stages}."
        )
    return proof


def tried(name: str, proof: Proof, work: Callable[[], T]) -> T | None:
    """Return what `work` makes; None, with a note or a fault in the proof, if it cannot.

    An absent tool is no fault of the export.
    """
    try:
        return work()
    except MissingExtraError as error:
        proof.notes.append(f"{name} was not compared: {error}")
    except RfpruneError as error:
        proof.faults.append(str(error))
    return None


def compared(
    a: str, b: str, ours: FloatArray, theirs: FloatArray, rows: ProofRows, types: str
) -> Comparison:
    """Return how two paths agree, bit for bit, and where they do not.

    Args:
        a: name of one.
        b: name of the other.
        ours: (rows, outputs) of the first.
        theirs: (rows, outputs) of the second.
        rows: what they are.
        types: in words.
    """
    errors = np.abs(ours - theirs)
    wrong = np.flatnonzero(errors.max(axis=0) > 0)
    place = ""
    if len(wrong):
        first = int(np.flatnonzero(errors.max(axis=1) > 0)[0])
        several = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        place = f"output {int(wrong[0])}{several}, row {first}"
    return Comparison(
        *(a, b, len(ours), rows.corners, types, float(errors.max())),
        begins=place,
        exhaustive=rows.exhaustive,
    )


def digest_of_sources(folder: Path) -> str:
    """Return the SHA-256 of the Verilog files in a folder."""
    parts: list[str | bytes] = []
    for path in sorted(folder.rglob("*.v")):
        parts += [path.relative_to(folder).as_posix(), path.read_bytes()]
    return sha256_of_parts(parts)


def module_in_numbers(
    chain: Chain, model: nn.Module, numbers: CircuitNumbers, x: Tensor
) -> FloatArray:
    """Return (rows, n) of the user's own module, each of its layers reading rounded numbers.

    Its own ``forward`` runs, with what each layer reads rounded as the circuit does: nothing that
    rfprune made of the network takes part.
    """
    own = copy.deepcopy(model).cpu().double().eval()
    with torch.no_grad(), _rounding(chain, own, numbers):
        return np.asarray(chain.joined(own(x)).flatten(1).numpy())


@contextmanager
def _rounding(chain: Chain, model: nn.Module, numbers: CircuitNumbers) -> Iterator[None]:
    """While open, the layers of `model` have the circuit's constants and read its numbers."""
    hooks = []
    for index, layer in enumerate(chain.layers):
        linear = layer.of(model)
        linear.weight.copy_(numbers.weight(index, linear))
        if linear.bias is not None:
            linear.bias.copy_(numbers.bias(index, linear.bias))

        def reads(
            module: nn.Module, given: tuple[Any, ...], index: int = index, signed: Any = layer
        ) -> Any:
            return (numbers.activation(index, given[0], signed.signed, wraps=True),)

        hooks.append(linear.register_forward_pre_hook(reads))
        for path in (*layer.norms_before, *layer.norms_after):
            # Part of their layers since the dense training: they hand on what they get.
            norm = model.get_submodule(path)
            hooks.append(norm.register_forward_hook(lambda module, given, out: given[0]))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def prove_circuit_again(
    folder: Path, built: AdderDeployment, model: nn.Module, scaling: Scaling, asked: Asked
) -> Proof:
    """Build the adder graph of an exported folder again, and compare everything in it."""
    prunable, vectors = built.prunable, read_vectors(folder)
    asked.say("building the adder graph")
    paths = CircuitPaths(prunable.graph(model), folder / "rtl")
    known = torch.from_numpy(vectors["x"]).double() if "x" in vectors else None
    proof = prove_circuit(prunable.chain, model, prunable.numbers, paths, known, asked)
    if known is not None:
        expected = module_in_numbers(
            prunable.chain, model, prunable.numbers, _on_ports(paths.graph, known)
        )
        for name in ("torch", "graph"):
            if not np.array_equal(vectors.get(name, 0), expected):
                proof.faults.append(f"test_vectors.npz: {name} is not what is computed for x.")
    compare_rtl(paths, proof)
    check_scaling(folder, scaling, proof)
    if built.spec.estimator == "adders":
        check_estimate(folder, built.figures(model), proof)
    return proof


def _on_ports(graph: AdderCircuit, x: Tensor) -> Tensor:
    return graph.kinds[0].quantize(x)


def compare_rtl(paths: CircuitPaths, proof: Proof, clock_ns: float = 5.0) -> None:
    """Compare the exported Verilog with what is written for the same graph."""
    tool = f"{paths.graph.tool} {version(paths.graph.tool)}"
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        written = paths.graph.write_verilog(Path(scratch) / "rtl", TOP, clock_ns)
        theirs = paths.rtl / "src"
        for path in sorted(written.rglob("*.v")):
            name = path.relative_to(written)
            other = theirs / name
            if not other.is_file():
                proof.faults.append(f"rtl/src/{name.as_posix()}: is missing.")
            elif other.read_bytes() != path.read_bytes():
                proof.faults.append(
                    f"rtl/src/{name.as_posix()}: is not what {tool} writes for this network."
                )
