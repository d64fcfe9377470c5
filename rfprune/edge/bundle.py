"""What an export for an edge device holds besides the network: the proof that it is the same.

::

    DIR/
        policy.pt           the agent's policy, of method akperl

The network is physically smaller, and computes what the masked one does.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version

import torch

from rfprune.core.files import read_json
from rfprune.core.markdown import amount, bullets, grid
from rfprune.edge.kernels import KernelMap, masked
from rfprune.edge.kernels import Masks as KernelMasks
from rfprune.edge.kernels.saving import KEPT
from rfprune.errors import RunsError
from rfprune.results import TrialFolder
from rfprune.trial.proof import Comparison, PathFacts, Proof, digest_of_network, torch_path
from rfprune.trial.target import Bundle, ExportedParts

__all__ = ["export_network"]

#: Rows on which the smaller network is compared with the masked one, and how far outputs may
#: differ: sums of fewer terms are rounded otherwise.
_ROWS, _TOLERANCE = 64, 1e-3


def export_network(kernels: KernelMap, bundle: Bundle) -> ExportedParts:
    """Compare the smaller network with the masked one, and add what the agent has learned.

    Raises:
        RunsError: the smaller network computes something else.
    """
    masks = KernelMasks(kernels, bundle.masks)
    record, output = bundle.record, bundle.prepared.task.output_name
    error = _largest_error(bundle, masks)
    same = (
        f"The smaller network computes what the masked one does; largest error of one {output} "
        f"{error:.2g}."
    )
    policy = bundle.trial / "agent" / f"{record.step:03d}" / "policy.pt"
    if policy.exists():
        shutil.copyfile(policy, bundle.folder / "policy.pt")
    costs = read_json(TrialFolder(bundle.trial).estimate(record.step))
    left = ", ".join(f"{name} {n}/{record.groups[name]}" for name, n in record.live.items())
    names = ["power_mw", *(q.name for q in bundle.prepared.target.facts.quantities)]
    values = record.metrics()
    sources = [f"{n}: {r['kind']}, {r['source']}" for n, r in costs["readings"].items()]
    sections = [
        "## Costs",
        grid(["quantity", "amount"], [[name, amount(values.get(name))] for name in names]),
        bullets(sources),
        "## Layers",
        grid(
            ["layer", "kernels", "of dense"],
            [[name, str(n), str(record.groups[name])] for name, n in record.live.items()],
        ),
    ]
    method = bundle.prepared.spec.prune.method
    return ExportedParts(
        facts=[same, f"Kernels left: {left}."],
        summary=[
            f"{values['kernel_sparsity']:.1%} of the kernels and {values['sparsity']:.1%} of the "
            f"weights are gone (method {method}, step {record.step})",
            same,
        ],
        report="\n\n".join(sections),
        masks=dict(masks),
        saved={KEPT: {name: int(mask.sum()) for name, mask in masks.items()}},
        estimate=costs,
        proof=_proof(bundle, error),
    )


def _proof(bundle: Bundle, error: float) -> Proof:
    """Return that the smaller network is the masked one, which it is made from."""
    n_rows = len(bundle.prepared.data.x_test[:_ROWS])
    made = PathFacts("graph", "rfprune", version("rfprune"), digest_of_network(bundle.final))
    same = Comparison("torch", "graph", n_rows, 0, "float32", error, max(error, _TOLERANCE))
    return Proof(paths=[torch_path(bundle.model, "float32"), made], compared=[same])


def _largest_error(bundle: Bundle, masks: KernelMasks) -> float:
    rows = bundle.prepared.data.x_test[:_ROWS]
    with torch.no_grad(), masked(bundle.model, masks):
        expected = bundle.model(rows)
        error = float((bundle.final(rows) - expected).abs().max())
    if error > _TOLERANCE * max(1.0, float(expected.abs().max())):
        raise RunsError(
            f"{bundle.trial}: the smaller network is off by {error:g} in an output from the masked "
            "one; its layers do something that pruning does not know."
        )
    return error
