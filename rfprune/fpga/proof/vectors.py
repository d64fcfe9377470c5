"""What stands beside the network in an export, checked: vectors, scaling, masks, figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfprune.core.files import read_json
from rfprune.core.named import Named
from rfprune.data import Scaling
from rfprune.errors import RunsError
from rfprune.fpga.proof.rows import InputKind
from rfprune.trial.proof import Proof

__all__ = [
    "check_estimate",
    "check_masks",
    "check_scaling",
    "check_vectors",
    "known_rows",
    "made_by",
    "read_masks",
    "read_vectors",
]

#: Sums of torch in single precision on another processor.
_FLOAT = 1e-4


def read_vectors(folder: Path) -> dict[str, Any]:
    """Return the arrays of the test vectors; none if the export has none.

    Raises:
        RunsError: the file is damaged.
    """
    return _read_npz(folder / "test_vectors.npz") if _is_there(folder) else {}


def _is_there(folder: Path) -> bool:
    return (folder / "test_vectors.npz").exists()


def read_masks(folder: Path) -> dict[str, Tensor]:
    """Return the masks of an export.

    Raises:
        RunsError: no such file, or a damaged one.
    """
    found = _read_npz(folder / "masks.npz")
    return {name: torch.from_numpy(mask) for name, mask in found.items()}


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise RunsError(f"{path}: is missing.") from None
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise RunsError(f"{path}: cannot be read ({error}).") from error


def made_by(folder: Path, path: str) -> str | None:
    """Return what wrote a path of an export, as its certificate names it, e.g. ``hls4ml 1.3.0``."""
    exported = folder / "certificate.exported.json"
    file = exported if exported.exists() else folder / "certificate.json"
    try:
        paths = json.loads(file.read_text())["paths"]
        return str(next(each["made_by"] for each in paths if each["name"] == path))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def known_rows(vectors: Mapping[str, Any], kinds: list[InputKind]) -> Tensor | Named | None:
    """Return the rows of the test vectors as a design reads them; None if there are none."""
    if "x_scaled" in vectors:
        return torch.from_numpy(vectors["x_scaled"]).double()
    parts = {
        name.removeprefix("x_scaled_"): torch.from_numpy(rows).double()
        for name, rows in vectors.items()
        if name.startswith("x_scaled_")
    }
    return Named(parts) if parts and len(parts) == len(kinds) else None


def check_scaling(folder: Path, scaling: Scaling, proof: Proof) -> None:
    """Compare ``scaling.json`` with the scaling that the network's file holds."""
    written = read_json(folder / "scaling.json")
    folded = list(written.get("folded_into", ()))
    proof.counted["scaling"] = {"formula": written.get("formula"), "folded_into": folded}
    if folded:
        # What is in the weights is in `model.pt` no more; there the scaling changes nothing.
        if not scaling.is_identity:
            proof.faults.append("scaling.json: says that it is folded, and model.pt scales.")
        return
    ours = {**scaling.as_json(), "folded_into": folded}
    for key in sorted(ours.keys() | written.keys()):
        if ours.get(key) != written.get(key):
            proof.faults.append(f"scaling.json: {key} is not that of model.pt.")


def check_vectors(
    vectors: Mapping[str, Any],
    scaling: Scaling,
    kinds: list[InputKind],
    again: Mapping[str, tuple[Any, Any]],
    proof: Proof,
) -> None:
    """Compare the test vectors with what is computed for them again.

    Args:
        vectors: the arrays.
        scaling: of raw rows.
        kinds: the inputs.
        again: by the vectors' name of an output: (torch in float, what the design puts out); None
            where it was not computed.
        proof: gets a fault for every array that differs.
    """
    if not vectors:
        return
    for kind, (name, raw) in zip(kinds, _raw(vectors, kinds), strict=True):
        key = name if len(kinds) > 1 else ""
        scaled = scaling.scaled(Named({key: raw}) if key else raw)
        scaled = scaled.parts[key] if isinstance(scaled, Named) else scaled
        grid = kind.type.quantize(scaled) if scaled.is_floating_point() else scaled
        stored = torch.from_numpy(vectors[f"x_scaled_{name}" if key else "x_scaled"])
        if grid.shape != stored.shape or not torch.equal(grid.double(), stored.double()):
            proof.faults.append(
                f"test_vectors.npz: x_scaled{f'_{name}' if key else ''} is not x, scaled and cast "
                f"to {kind.type}."
            )
    for name, (in_float, built) in again.items():
        for key, value, tolerance in ((name, in_float, _FLOAT), (f"{name}_fixed", built, 0.0)):
            if value is None:
                continue
            known = vectors.get(key)
            wrong = known is None or known.shape != value.shape
            if known is not None and not wrong:
                scale = max(1.0, float(np.abs(value).max(initial=0.0)))
                wrong = not bool(np.abs(known - value).max(initial=0.0) <= tolerance * scale)
            if wrong:
                proof.faults.append(f"test_vectors.npz: {key} is not what is computed for x.")


def _raw(vectors: Mapping[str, Any], kinds: list[InputKind]) -> list[tuple[str, Tensor]]:
    if len(kinds) == 1:
        return [(kinds[0].name, torch.from_numpy(vectors["x"]))]
    names = [name.removeprefix("x_scaled_") for name in vectors if name.startswith("x_scaled_")]
    return [(name, torch.from_numpy(vectors[f"x_{name}"])) for name in names]


def check_estimate(folder: Path, found: Mapping[str, float | None], proof: Proof) -> None:
    """Compare the figures of the chosen point with the same, counted again.

    Args:
        folder: of the export.
        found: what was counted again, by quantity.
        proof: gets both figures, and a fault for every one that differs.
    """
    point = read_json(folder / "metrics.json")
    total = read_json(folder / "estimate.json").get("total", {})
    names = [name for name in found if found[name] is not None and point.get(name) is not None]
    proof.front = {
        "trial": point.get("trial"),
        "step": point.get("step"),
        **{name: {"front": point[name], "counted": found[name]} for name in names},
    }
    for name in names:
        for file, known in (("metrics.json", point[name]), ("estimate.json", total.get(name))):
            if known is not None and not math.isclose(known, found[name] or 0.0, rel_tol=1e-6):
                proof.faults.append(
                    f"{file}: {name} is {known:g}; counted again it is {found[name]:g}."
                )
    built = proof.counted.get("cpp", {}).items()
    live = {layer: each["by_mask"] for layer, each in built if each["products"] is not None}
    for layer, count in (point.get("live") or {}).items():
        if count != live.get(layer, count):
            proof.faults.append(
                f"metrics.json: {layer} has {count} multipliers; counted again {live[layer]}."
            )


def check_masks(folder: Path, saved: Mapping[str, Tensor], proof: Proof) -> None:
    """Compare ``masks.npz`` with the masks that the network's file holds."""
    found = read_masks(folder)
    for name in sorted(found.keys() | saved.keys()):
        own, other = saved.get(name), found.get(name)
        if own is None or other is None or own.shape != other.shape:
            proof.faults.append(f"masks.npz: that of {name} is not the one of model.pt.")
            continue
        wrong = int(((own != 0) != (other != 0)).sum())
        if wrong:
            proof.faults.append(
                f"masks.npz: that of {name} differs from the one of model.pt in {wrong} places."
            )
