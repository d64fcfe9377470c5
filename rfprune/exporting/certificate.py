"""``certificate.json``: what of an export was compared with what, and the same once more.

::

    {
      "version": 1,
      "rfprune": "...",
      "paths": [{"name": "torch"|"graph"|"cpp"|"rtl"|"netlist", "tool", "tool_version", "sha256"}],
      "compared": [{"a", "b", "rows", "largest_error", "equal", "tolerance", "types", "corners"}],
      "counted": {...}, "front": {...}, "notes": [...],
      "holds": true, "faults": [...],
      "files": {path: sha256}
    }

`certify` finds every file that is not the one that was exported, and, apart from that, everything
that no longer is the network: what is built and simulated again does not ask the checksums.

It writes what it finds, whatever that is. The certificate of the export is what the files are held
to: where anything differs it is moved beside, to ``certificate.exported.json``, and ``SHA256SUMS``
stays as it is; it is back in its place, renewed, when everything holds again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rfprune.core.digests import digest_of_file
from rfprune.core.files import read_json, write_atomic, write_json
from rfprune.core.named import Named, call, zero_rows
from rfprune.core.onnx_runtime import onnx_runtime
from rfprune.core.registry import resolve
from rfprune.data import Scaling
from rfprune.errors import OptionError, RfpruneError, RunsError
from rfprune.exporting.folder import SUMS
from rfprune.exporting.loading import load, load_layers
from rfprune.models import load_checkpoint
from rfprune.spec import TARGETS
from rfprune.trial.proof import Asked, Comparison, Proof

__all__ = [
    "CERTIFICATE",
    "CertifiedExport",
    "certify",
    "compare_onnx",
    "note_front",
    "write_certificate",
]

CERTIFICATE = "certificate.json"
#: Where the export's own certificate is kept while the folder is not what was exported.
_EXPORTED = "certificate.exported.json"
_VERSION = 1
#: Rows on which the ONNX file is run: without onnxruntime it is interpreted.
_ONNX_ROWS = 32
#: Sums in single precision, relative to the largest output.
_ONNX_TOLERANCE = 1e-4


@dataclass(frozen=True)
class CertifiedExport:
    """What was found in an exported folder.

    Attributes:
        certificate: as it is written.
        faults: everything that is wrong, one sentence each, the place first; none if it holds.
    """

    certificate: dict[str, Any]
    faults: list[str]


def write_certificate(folder: Path, proof: Proof) -> dict[str, Any]:
    """Write the certificate of a folder that is complete but for it and the checksums."""
    found = _certificate(proof, _digests(folder), proof.all_faults())
    write_json(folder / CERTIFICATE, found)
    return found


def _certificate(proof: Proof, files: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "rfprune": version("rfprune"),
        "paths": [path.to_json() for path in proof.paths],
        "compared": [each.to_json() for each in proof.compared],
        "counted": proof.counted,
        "front": proof.front,
        "notes": proof.notes,
        "holds": not faults,
        "faults": faults,
        "files": dict(files),
    }


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but the certificate and the checksums."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    own = (CERTIFICATE, _EXPORTED, SUMS)
    return {name: digest_of_file(path) for name, path in names.items() if name not in own}


def certify(folder: Path, asked: Asked | None = None) -> CertifiedExport:
    """Compare and count once more what an exported folder holds.

    The C++ in the folder is compiled and run, so it has to come from a source that may run code
    here. The certificate is written anew; where anything differs, that of the export is kept beside
    it, and what the export's files are held to does not change.

    Args:
        folder: made by ``rfprune export``.
        asked: how much is compared.

    Raises:
        RunsError: the folder holds no export, or one without a certificate.
        OptionError: more was asked than the export's inputs allow, or its code was not allowed.
    """
    asked = Asked() if asked is None else asked
    if not (folder / "model.pt").is_file() and not (folder / CERTIFICATE).is_file():
        raise RunsError(f"{folder}: is not an export. Allowed: a folder made by 'rfprune export'.")
    if not (folder / CERTIFICATE).is_file() and CERTIFICATE not in _sums(folder):
        raise RunsError(
            f"{folder}: has no {CERTIFICATE}; versions before 0.2 wrote none. Export again."
        )
    asked.say("comparing the files with their checksums")
    digests = _digests(folder)
    faults = _check_files(folder, digests)
    proof = _proof(folder, asked)
    faults += [each for each in proof.all_faults() if each not in faults]
    certificate = _certificate(proof, digests, faults)
    _write_anew(folder, certificate)
    return CertifiedExport(certificate, faults)


def _proof(folder: Path, asked: Asked) -> Proof:
    """Return what the target finds; what cannot be read, built or run is a fault."""
    try:
        model = load_layers(folder, run_code=asked.run_code)
        saved = load_checkpoint(folder / "model.pt").extra
        target = resolve(TARGETS[str(saved.get("target"))].target)
        proof: Proof = target.certify(folder, model, asked)
        asked.say("comparing the ONNX file")
        compare_onnx(folder, load(folder, run_code=asked.run_code), proof)
        if not proof.front:
            note_front(folder, proof)
    except OptionError:
        raise
    except RfpruneError as error:
        return Proof(faults=[str(error).replace(f"{folder}/", "")])
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        return Proof(faults=[f"the folder cannot be read ({type(error).__name__}: {error})."])
    return proof


def note_front(folder: Path, proof: Proof) -> None:
    """Put the figures of the chosen point into the certificate, beside what was counted."""
    point = read_json(folder / "metrics.json")
    numbers = {name: v for name, v in point.items() if isinstance(v, int | float)}
    proof.front = {**numbers, **proof.front}


def compare_onnx(folder: Path, model: nn.Module, proof: Proof) -> None:
    """Compare ``model.onnx`` with the network on raw rows.

    Args:
        folder: of the export.
        model: takes raw rows.
        proof: gets the comparison, or a note.
    """
    path = folder / "model.onnx"
    if not path.exists():
        proof.faults.append("model.onnx: is missing.")
        return
    x = _raw_rows(folder)
    parts = list(x.parts.values()) if isinstance(x, Named) else [x]
    with torch.no_grad():
        output = call(model, x)
    expected = list(output.values()) if isinstance(output, Mapping) else output
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    try:
        found = _run_onnx(path, [part.numpy() for part in parts])
    except Exception as error:  # each of the runtimes raises its own
        proof.faults.append(f"model.onnx: cannot be run ({' '.join(str(error).split())[:200]}).")
        return
    off, scale = 0.0, 1.0
    for ours, theirs in zip(expected, found, strict=True):
        same = ours.shape == theirs.shape
        off = max(off, float(np.abs(ours.numpy() - theirs).max()) if same else float("inf"))
        scale = max(scale, float(ours.abs().max()))
    tolerance = _ONNX_TOLERANCE * scale
    same_network = Comparison("torch", "model.onnx", len(parts[0]), 0, "float32", off, tolerance)
    proof.compared.append(same_network)


def _raw_rows(folder: Path) -> Any:
    """Return raw rows: those of the test vectors, else random ones."""
    saved = load_checkpoint(folder / "model.pt")
    shape, vectors = saved.input_shape, folder / "test_vectors.npz"
    if vectors.exists():
        with np.load(vectors) as found:
            if isinstance(shape, dict) and all(f"x_{name}" in found for name in shape):
                rows = {name: found[f"x_{name}"][:_ONNX_ROWS] for name in shape}
                return Named({name: torch.from_numpy(part) for name, part in rows.items()})
            # Where no scaled rows stand beside them, they are scaled already.
            if not isinstance(shape, dict) and "x_scaled" in found:
                return torch.from_numpy(found["x"][:_ONNX_ROWS])
    generator = torch.Generator().manual_seed(0)
    scaling = Scaling.from_saved(saved.extra["scaling"])
    if isinstance(shape, dict):
        return zero_rows(_ONNX_ROWS, shape)
    return scaling.raw(torch.randn((_ONNX_ROWS, *shape), generator=generator))


def _run_onnx(path: Path, inputs: list[Any]) -> list[Any]:
    """Return the outputs of an ONNX file, by onnxruntime if it is there."""
    try:
        runtime = onnx_runtime()
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(str(path))
        return list(evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=True))))
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def _check_files(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """Return every file that is not the one that was exported."""
    faults: list[str] = []
    certified: Mapping[str, Any] = {}
    kept = folder / _EXPORTED
    path = kept if kept.is_file() else folder / CERTIFICATE
    try:
        certified = json.loads(path.read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        faults.append(f"{CERTIFICATE}: is missing.")
    except (OSError, ValueError, KeyError, TypeError):
        faults.append(f"{CERTIFICATE}: cannot be read.")
    sums = _sums(folder)
    if not sums:
        faults.append(f"{SUMS}: is missing or empty.")
    elif path.is_file() and sums.get(CERTIFICATE) != digest_of_file(path):
        faults.append(f"{CERTIFICATE}: is not the one that {SUMS} lists.")
    sums.pop(CERTIFICATE, None)
    # Both lists name every file; a file that one of them knows otherwise is wrong too.
    for listed, source in ((certified, CERTIFICATE), (sums, SUMS)):
        for name in sorted(listed.keys() | digests.keys() if listed else ()):
            if name not in digests:
                faults.append(f"{name}: is missing.")
            elif name not in listed:
                faults.append(f"{name}: was not exported ({source} does not list it).")
            elif digests[name] != listed[name]:
                faults.append(f"{name}: is not the file that was exported (SHA-256, {source}).")
    seen: dict[str, str] = {}
    for fault in faults:
        seen.setdefault(fault.partition(":")[0], fault)
    return list(seen.values())


def _sums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("  ") for line in lines if "  " in line)
    return {name: digest for digest, _, name in pairs}


def _write_anew(folder: Path, certificate: dict[str, Any]) -> None:
    """Write what was found; a folder that is read-only stays as it is, which is noted."""
    path, kept = folder / CERTIFICATE, folder / _EXPORTED
    try:
        if not certificate["holds"]:
            if path.is_file() and not kept.exists() and not _found_wrong(folder, path):
                path.rename(kept)
            write_json(path, certificate)
            return
        write_json(path, certificate)
        sums = {**_sums(folder), CERTIFICATE: digest_of_file(path)}
        lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
        write_atomic(folder / SUMS, "".join(lines))
        kept.unlink(missing_ok=True)
    except OSError as error:
        certificate["notes"] = [*certificate["notes"], f"not written: {error.strerror or error}."]


def _found_wrong(folder: Path, path: Path) -> bool:
    """Return whether a certificate is an earlier finding, and not the one of the export."""
    if _sums(folder).get(CERTIFICATE) == digest_of_file(path):
        return False
    try:
        return json.loads(path.read_text(encoding="utf-8"))["holds"] is False
    except (OSError, ValueError, KeyError, TypeError):
        return False
