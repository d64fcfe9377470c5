"""Faults injected into exports: every one is found, and its place is named.

Two kinds: a file that is not the one that was exported, which the checksums tell; and one whose
checksums were renewed, as a defect in the making of an export would leave them, which only what is
built and computed again can tell.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfprune.core.digests import digest_of_file, sha256_of_parts
from rfprune.errors import MissingExtraError
from rfprune.exporting import Request, export
from rfprune.exporting.certificate import certify
from rfprune.fpga.hls import simulate as simulation
from rfprune.fpga.proof import circuit
from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.trial.run import run_trial
from tests.fpga.adders.test_adders import small as adders
from tests.trial.conftest import small

pytestmark = pytest.mark.slow

Fault = Callable[[Path], None]


def trial_of(home: Path, spec: TrialSpec) -> TrialFolder:
    torch.set_num_threads(1)
    home.mkdir(parents=True, exist_ok=True)
    (home / "trial.json").write_text(json.dumps({"base_dir": str(home)}))
    folder = TrialFolder(home / "trials" / "0000")
    run_trial(spec, folder, dense_dir=home / "dense", base_dir=home)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Compile equal sources once: most faults leave the C++ as it is."""
    kept, compile_ = tmp_path_factory.mktemp("compiled"), simulation._compile

    def once(project: Path, scratch: Path, optimization: str) -> Path:
        files = sorted(path for path in project.rglob("*") if path.is_file())
        parts = [part for path in files for part in (path.name, path.read_bytes())]
        found = kept / f"{sha256_of_parts(parts)}.so"
        if not found.exists():
            shutil.copyfile(compile_(project, scratch, optimization), found)
        return found

    patch = pytest.MonkeyPatch()
    patch.setattr(simulation, "_compile", once)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the export of one trial, and the HLS project of another."""
    home, hidden = tmp_path_factory.mktemp("exports"), {"args": {"hidden": [8]}}
    # Standardized: the rows lie between the grids of the input type.
    trial = trial_of(home / "one", small(model=hidden, data={"standardize": True}))
    export(Request(trial, 3, home / "out", rows=20))
    export(Request(trial, 2, home / "earlier", rows=20))
    return home / "out", home / "earlier"


def edit(path: Path, pattern: str, to: str, count: int = 1) -> None:
    text = path.read_text()
    found = re.sub(pattern, to, text, count=count)
    assert found != text, f"nothing to change in {path}"
    path.write_text(found)


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_npz(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with np.load(path) as found:
        arrays = {name: found[name].copy() for name in found.files}
    change(arrays)
    np.savez_compressed(path, **arrays)


def edit_weights(folder: Path, name: str, change: Callable[[list[str]], None]) -> None:
    """Change numbers of the C++ in both of its files, for synthesis and for simulation."""
    text = (folder / f"hls/firmware/weights/{name}.txt").read_text()
    numbers = [number.strip() for number in text.split(",")]
    change(numbers)
    (folder / f"hls/firmware/weights/{name}.txt").write_text(", ".join(numbers))
    edit(folder / f"hls/firmware/weights/{name}.h", r"\{[^{}]*\};", f"{{{', '.join(numbers)}}};")


def flipped(numbers: list[str]) -> None:
    index = next(i for i, number in enumerate(numbers) if float(number))
    numbers[index] = repr(float(numbers[index]) + 2**-6)


def swapped(numbers: list[str]) -> None:
    live = [i for i, number in enumerate(numbers) if float(number)]
    i, j = next((i, j) for i in live for j in live if numbers[i] != numbers[j])
    numbers[i], numbers[j] = numbers[j], numbers[i]


def freed(arrays: dict[str, Any]) -> None:
    flat = arrays["fc1"].reshape(-1)
    flat[np.flatnonzero(~flat)[0]] = True


def taken(arrays: dict[str, Any]) -> None:
    flat = arrays["fc1"].reshape(-1)
    flat[np.flatnonzero(flat)[0]] = False


def moved(name: str) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        arrays[name].reshape(-1)[3] += 2**-5

    return change


def retrained(folder: Path) -> None:
    content = torch.load(folder / "model.pt", weights_only=True)
    weight = content["state_dict"]["fc1.weight"].reshape(-1)
    weight[int(weight.nonzero()[0])] += 2**-4
    torch.save(content, folder / "model.pt")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_a_product(folder: Path) -> None:
    path = folder / "hls/firmware/nnet_utils/nnet_code_gen.h"
    edit(path, r"\n[^\n]*::product\(data\[\d+\], weights\[\d+\]\)[^\n]*", "")


FIRMWARE = "hls/firmware"
#: What is done to an export whose checksums are renewed; words that the fault must name.
SEMANTIC: dict[str, tuple[Fault, str]] = {
    "a weight of the C++ flipped": (lambda f: edit_weights(f, "w2", flipped), "layer 'fc1'"),
    "two inputs swapped": (lambda f: edit_weights(f, "w4", swapped), "layer 'output'"),
    "a bias moved": (lambda f: edit_weights(f, "b4", flipped), "layer 'output'"),
    "a weight for synthesis alone": (
        lambda f: edit(f / FIRMWARE / "weights/w2.h", r"\{0", "{1"),
        "weights/w2.h",
    ),
    "rounding of a layer": (
        lambda f: edit(f / FIRMWARE / "defines.h", r"<16,6> layer3_t", "<16,6,AP_RND> layer3_t"),
        "layer 'fc1_relu'",
    ),
    "overflow of a layer": (
        lambda f: edit(
            f / FIRMWARE / "defines.h", r"<16,6> layer3_t", "<16,6,AP_TRN,AP_SAT> layer3_t"
        ),
        "layer 'fc1_relu'",
    ),
    "a narrower accumulator": (
        lambda f: edit(
            f / FIRMWARE / "defines.h",
            r"ap_fixed<\d+,\d+> fc1_accum_t",
            "ap_fixed<12,6> fc1_accum_t",
        ),
        "layer 'fc1'",
    ),
    "a ReLU gone": (
        lambda f: edit(f / FIRMWARE / "rfprune_design.cpp", r"nnet::relu<", "nnet::linear<"),
        "layer 'fc1_relu'",
    ),
    "a product gone": (without_a_product, "layer 'fc1'"),
    "another reuse factor": (
        lambda f: edit(f / FIRMWARE / "parameters.h", r"reuse_factor = 4", "reuse_factor = 2"),
        "parameters.h",
    ),
    "weights that end early": (lambda f: cut(f / FIRMWARE / "weights/w2.txt"), "weights/w2.txt"),
    "a mask bit freed": (lambda f: edit_npz(f / "masks.npz", freed), "masks.npz: that of fc1"),
    "a mask bit taken": (lambda f: edit_npz(f / "masks.npz", taken), "masks.npz: 1 weights of fc1"),
    "a scale moved": (
        lambda f: edit_json(f / "scaling.json", lambda v: v["scale"].__setitem__(0, 17.0)),
        "scaling.json: scale",
    ),
    "a row moved": (
        lambda f: edit_npz(f / "test_vectors.npz", moved("x_scaled")),
        "test_vectors.npz: x_scaled",
    ),
    "an answer moved": (
        lambda f: edit_npz(f / "test_vectors.npz", moved("logits_fixed")),
        "test_vectors.npz: logits_fixed",
    ),
    "the network trained on": (retrained, "layer 'fc1'"),
    "other types": (
        lambda f: edit_json(
            f / "spec.json", lambda v: v["hardware"].__setitem__("precision", "fixed<14,6>")
        ),
        "layer 'fc1",
    ),
    "a better figure": (
        lambda f: edit_json(f / "metrics.json", lambda v: v.__setitem__("dsp", 5.0)),
        "metrics.json: dsp",
    ),
    "another estimate": (
        lambda f: edit_json(f / "estimate.json", lambda v: v["total"].__setitem__("lut", 7)),
        "estimate.json: lut",
    ),
    "a damaged network": (lambda f: cut(f / "model.pt"), "model.pt"),
    "another ONNX file": (lambda f: cut(f / "model.onnx"), "model.onnx"),
}


def renew(folder: Path) -> None:
    """Make the checksums those of the files as they are."""
    found = json.loads((folder / "certificate.json").read_text())
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    sums = {path.relative_to(folder).as_posix(): digest_of_file(path) for path in files}
    found["files"] = {name: sum_ for name, sum_ in sums.items() if name != "certificate.json"}
    (folder / "certificate.json").write_text(json.dumps(found))
    sums["certificate.json"] = digest_of_file(folder / "certificate.json")
    lines = [f"{sum_}  {name}\n" for name, sum_ in sorted(sums.items())]
    (folder / "SHA256SUMS").write_text("".join(lines))


def damaged(source: Path, folder: Path, fault: Fault, renewed: bool) -> list[str]:
    shutil.copytree(source, folder)
    fault(folder)
    if renewed:
        renew(folder)
    before, sums = ((folder / name).read_bytes() for name in ("certificate.json", "SHA256SUMS"))
    found = certify(folder).faults
    # The finding is written, and the evidence stays as it is.
    written = json.loads((folder / "certificate.json").read_text())
    assert (written["holds"], written["faults"]) == (False, found)
    assert (folder / "certificate.exported.json").read_bytes() == before
    assert (folder / "SHA256SUMS").read_bytes() == sums
    return found


def test_what_is_as_it_was_exported_holds(exported: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(exported[0], tmp_path / "out")
    found = certify(tmp_path / "out")
    assert found.faults == []
    assert [path["name"] for path in found.certificate["paths"]] == ["torch", "graph", "cpp"]
    cpp = found.certificate["compared"][1]
    assert (cpp["a"], cpp["b"], cpp["equal"], cpp["largest_error"]) == ("graph", "cpp", True, 0.0)
    assert cpp["corners"] == 13
    # It was written anew, and holds again.
    assert certify(tmp_path / "out").faults == []


@pytest.mark.parametrize("name", SEMANTIC)
def test_a_fault_behind_right_checksums(
    exported: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    fault, place = SEMANTIC[name]
    found = damaged(exported[0], tmp_path / "out", fault, renewed=True)
    assert any(place in text for text in found), found


def test_the_project_of_another_step(exported: tuple[Path, Path], tmp_path: Path) -> None:
    def other(folder: Path) -> None:
        shutil.rmtree(folder / "hls")
        shutil.copytree(exported[1] / "hls", folder / "hls")

    found = damaged(exported[0], tmp_path / "out", other, renewed=True)
    assert any("layer 'fc1'" in text for text in found), found


#: What the checksums alone tell.
PLAIN: dict[str, tuple[Fault, str]] = {
    "a page that ends early": (lambda f: cut(f / "report.md"), "report.md: is not the file"),
    "a file gone": (lambda f: (f / "build.sh").unlink(), "build.sh: is missing"),
    "a file more": (lambda f: (f / "axi/more.txt").write_text("x"), "axi/more.txt: was not"),
    "a certificate that ends early": (
        lambda f: cut(f / "certificate.json"),
        "certificate.json: cannot be read",
    ),
    "other checksums": (lambda f: edit(f / "SHA256SUMS", r"^\w{8}", "00000000"), "is not the file"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_file_that_was_not_exported(
    exported: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    fault, place = PLAIN[name]
    found = damaged(exported[0], tmp_path / "out", fault, renewed=False)
    assert any(place in text for text in found), found


def test_a_fault_is_found_until_it_is_mended(exported: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = damaged(exported[0], out, lambda f: cut(f / "report.md"), renewed=False)
    assert certify(out).faults == found
    shutil.copyfile(exported[0] / "report.md", out / "report.md")
    assert certify(out).faults == []
    assert not (out / "certificate.exported.json").exists()
    assert json.loads((out / "certificate.json").read_text())["holds"] is True
    (out / "certificate.json").unlink()
    missing = ["certificate.json: is missing."]
    assert certify(out).faults == missing
    # What was found is not taken for the certificate of the export.
    assert certify(out).faults == ["certificate.json: is not the one that SHA256SUMS lists."]
    assert not (out / "certificate.exported.json").exists()


WIDTHS = {
    "model": {"args": {"hidden": [6]}},
    "train": {"epochs": 4},
    "prune": {"budget": {"lut": 300}, "epochs_per_step": 4, "tolerance": 0.9},
}


def other_constant(folder: Path) -> None:
    """Shift one operand of an adder by a place more."""
    path = folder / "rtl/src/network_stage0.v"
    found = re.search(
        r"shift_adder #\((\d+), (\d+), (\d+), (\d+), (\d+), (-?\d+), (\d)\)", path.read_text()
    )
    assert found is not None
    new = f"shift_adder #({', '.join([*found.groups()[:6], '1' if found[7] == '0' else '0'])})"
    path.write_text(path.read_text().replace(found[0], new, 1))


CIRCUIT: dict[str, tuple[Fault, str]] = {
    "an adder that subtracts": (other_constant, "rtl is not graph"),
    "a port of another width": (
        lambda f: edit(f / "rtl/src/network.v", r"input \[\d+:0\]", "input [7:0]"),
        "network.v",
    ),
    "a register less": (
        lambda f: edit(f / "rtl/src/network.v", r"stage1_inp <= stage0_out", "stage1_inp <= 0"),
        "rtl is not graph",
    ),
    "RTL that ends early": (lambda f: cut(f / "rtl/src/network_stage0.v"), "network_stage0.v"),
}


def test_faults_of_rtl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("da4ml", reason="needs the extra da4ml")
    if shutil.which("verilator") is None:
        pytest.skip("verilator is not on PATH")

    def none(*args: Any) -> Any:
        raise MissingExtraError("left out: the netlist has its own test")

    monkeypatch.setattr(circuit, "synthesised", none)
    trial = trial_of(tmp_path / "trial", adders(**WIDTHS))
    export(Request(trial, 2, tmp_path / "out", rows=50))
    assert certify(tmp_path / "out").faults == []
    for name, (fault, place) in CIRCUIT.items():
        found = damaged(tmp_path / "out", tmp_path / name, fault, renewed=True)
        assert any(place in text for text in found), (name, found)


def other_sign(folder: Path) -> None:
    """Let one adder of alkaid's subtract, or the other way round."""
    path = folder / "rtl/src/logic0.v"
    found = re.search(r"shift_adder #\(((?:-?\d+,){7})(\d)\)", path.read_text())
    assert found is not None
    other = f"shift_adder #({found[1]}{'1' if found[2] == '0' else '0'})"
    path.write_text(path.read_text().replace(found[0], other, 1))


def other_constant_of_graph(arrays: dict[str, Any]) -> None:
    arrays["data"][-1] += 1


UNROLLED: dict[str, tuple[Fault, str]] = {
    "an adder that subtracts": (other_sign, "rtl is not graph"),
    "a stage less": (
        lambda f: edit(f / "rtl/src/network.v", r"model_inp_reg\[[\d:]+\] <= \S+;", ""),
        "rtl is not graph",
    ),
    "another row of the bench": (
        lambda f: edit(f / "rtl/tb/outputs.hex", r"^[0-9a-f]", "x"),
        "rtl/tb/outputs.hex: is not that of this network",
    ),
    "another clock": (
        lambda f: edit(f / "rtl/src/network.xdc", r"set clock_period \S+", "set clock_period 9.9"),
        "rtl/src/network.xdc",
    ),
    "VHDL that ends early": (lambda f: cut(f / "vhdl/src/logic0.vhd"), "vhdl/src/logic0.vhd"),
    "C++ with another sign": (
        lambda f: edit(f / "vitis/src/network.hh", r" = (v\d+) \+ ", r" = \1 - "),
        "cpp is not graph",
    ),
    "an emulator of other numbers": (
        lambda f: edit_npz(f / "emulator/rfprune_emulator/graph.npz", other_constant_of_graph),
        "emulator/rfprune_emulator/graph.npz",
    ),
    "a retrained network": (retrained, "rtl is not graph"),
    "RTL that ends early": (lambda f: cut(f / "rtl/src/logic0.v"), "logic0.v"),
}


@pytest.mark.slow
def test_faults_of_the_second_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("alkaid", reason="needs the extra alkaid")
    if shutil.which("verilator") is None:
        pytest.skip("verilator is not on PATH")

    def none(*args: Any) -> Any:
        raise MissingExtraError("left out: the netlist has its own test")

    monkeypatch.setattr(circuit, "synthesised", none)
    hardware = {"backend": "alkaid", "strategy": "distributed_arithmetic"}
    spec = TrialSpec.model_validate(
        {
            "model": {"name": "mlp", "args": {"hidden": [6]}},
            "data": {"name": "digits"},
            "train": {"epochs": 2},
            "estimator": "adders",
            "hardware": {**hardware, "precision": "fixed<8,4,RND,SAT>"},
            "prune": {"budget": {"lut": 0.3}, "method": "magnitude", "steps": 2, "tolerance": 0.9},
        }
    )
    trial = trial_of(tmp_path / "trial", spec)
    export(Request(trial, 1, tmp_path / "out", rows=50))
    assert certify(tmp_path / "out").faults == []
    for name, (fault, place) in UNROLLED.items():
        found = damaged(tmp_path / "out", tmp_path / name, fault, renewed=True)
        assert any(place in text for text in found), (name, found)
