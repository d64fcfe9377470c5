"""An exported folder for an FPGA, proven once more."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rfprune.core.files import read_json
from rfprune.data import Scaling
from rfprune.fpga.adders.deployment import AdderDeployment
from rfprune.fpga.estimating import network_of
from rfprune.fpga.proof.circuit import prove_circuit_again
from rfprune.fpga.proof.hls import prove_again
from rfprune.fpga.proof.vectors import check_masks
from rfprune.fpga.unrolled.deployment import UnrolledDeployment
from rfprune.fpga.unrolled.proof import prove_unrolled_again
from rfprune.models import load_checkpoint
from rfprune.trial.proof import Asked, Proof

__all__ = ["prove_folder"]


def prove_folder(folder: Path, model: nn.Module, asked: Asked) -> Proof:
    """Build and simulate again what an exported folder holds, and count it.

    Args:
        folder: of the export.
        model: its network.
        asked: how much is compared.
    """
    planned, model = network_of(folder, None, asked.run_code)
    saved = load_checkpoint(folder / "model.pt").extra
    scaling = Scaling.from_saved(saved["scaling"])
    if isinstance(planned, UnrolledDeployment):
        proof = prove_unrolled_again(folder, planned, model, scaling, asked)
    elif isinstance(planned, AdderDeployment):
        proof = prove_circuit_again(folder, planned, model, scaling, asked)
    else:
        by = str(read_json(folder / "spec.json").get("estimator", "analytic"))
        proof = prove_again(folder, planned, model, scaling, by, asked)
    check_masks(folder, saved.get("masks", {}), proof)
    return proof
