from __future__ import annotations

import os
from pathlib import Path

import pytest

from rfprune.errors import ReportError
from rfprune.fpga.estimators.reports import all_reports, find_reports, read_report, to_estimate
from tests.fpga.estimators.hls_output import write_hls_output

GOLDEN = Path(__file__).parents[2] / "golden"
SAMPLES = Path(os.environ.get("RFPRUNE_DATA", "../shared/data")) / "report_samples"
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason=f"no published report samples at {SAMPLES} (set RFPRUNE_DATA)"
)

# name: kind, tool, version, part, clock, cycles (min, max, II min, II max), DSP, BRAM18, LUT, FF,
# URAM
EXPECTED = {
    "hls4ml_test_csynth_2020.1.rpt": (
        "csynth",
        "Vivado HLS",
        "2020.1",
        "xc7z020-clg400-1",
        5.0,
        (10, 10, 8, 8),
        (73, 0, 2532, 7969),
        0,
    ),
    "hls4ml_test_csynth_2020.1.xml": (
        "csynth",
        "Vivado HLS",
        "2020.1",
        "xc7z020-clg400-1",
        5.0,
        (10, 10, 8, 8),
        (73, 0, 2532, 7969),
        0,
    ),
    "hls4ml_test_vivado_synth_2020.1.rpt": (
        "synthesis",
        "Vivado",
        "2020.1",
        "7z020clg400-1",
        None,
        (None,) * 4,
        (66, 0, 1526, 2428),
        None,
    ),
    "nac_opt_2020.1_myproject_csynth.rpt": (
        "csynth",
        "Vitis HLS",
        "2020.1",
        "xc7z020-clg400-1",
        5.0,
        (79, 79, 32, 32),
        (96, 2, 11935, 9052),
        0,
    ),
    "tutorial_quantized_pruned_cnn_vivado_synth_2020.1.rpt": (
        "synthesis",
        "Vivado",
        "2020.1",
        "xcu250figd2104-2L",
        None,
        (None,) * 4,
        (353, 68, 118931, 30702),
        0,
    ),
    "vitis2021.1_dense_latency_layer_csynth.rpt": (
        "csynth",
        "Vitis HLS",
        "2021.1",
        "xc7z007s-clg225-2",
        5.0,
        (3, 3, 1, 1),
        (25, 0, 1196, 1171),
        0,
    ),
    "vitis2021.1_latency_rf2_myproject_csynth.xml": (
        "csynth",
        "Vitis HLS",
        "2021.1",
        "xc7z007s-clg225-2",
        3.33,
        (54, 54, 2, 2),
        (796, 5, 62431, 60582),
        0,
    ),
    "vitis2024.1_io_parallel_csynth_all_modules.xml": (
        "csynth",
        "Vitis HLS",
        "2024.1",
        "xcu50-fsvh2104-2-e",
        5.0,
        (4, 4, 1, 1),
        (0, 0, 1460, 333),
        0,
    ),
    "vitis2024.1_io_parallel_myproject_csynth.rpt": (
        "csynth",
        "Vitis HLS",
        "2024.1",
        "xcu50-fsvh2104-2-e",
        5.0,
        (4, 4, 1, 1),
        (0, 0, 1460, 333),
        0,
    ),
    "vitis2024.1_io_parallel_myproject_csynth.xml": (
        "csynth",
        "Vitis HLS",
        "2024.1",
        "xcu50-fsvh2104-2-e",
        5.0,
        (4, 4, 1, 1),
        (0, 0, 1460, 333),
        0,
    ),
    "vitis2024.1_io_stream_conv1d_myproject_csynth.rpt": (
        "csynth",
        "Vitis HLS",
        "2024.1",
        "xcu250-figd2104-2L-e",
        5.0,
        (395, 395, 390, 390),
        (467, 29, 17966, 7123),
        0,
    ),
    "vivado2019.2.1_resnet_io_stream_csynth.xml": (
        "csynth",
        "Vivado HLS",
        "2019.2.1",
        "xc7z020-clg400-1",
        10.0,
        (944610, 944610, 41032, 922001),
        (0, 169, 30733, 38177),
        0,
    ),
    "vivado2019.2_gru_csynth.xml": (
        "csynth",
        "Vivado HLS",
        "2019.2",
        "xcu250-figd2104-2L-e",
        5.0,
        (649, 667, 557, 572),
        (123, 374, 122749, 14906),
        0,
    ),
    "vivado2019.2_gru_vivado_synth.rpt": (
        "synthesis",
        "Vivado",
        "2019.2",
        "xcu250figd2104-2L",
        None,
        (None,) * 4,
        (123, 279, 30654, 16164),
        0,
    ),
    "vivado2024.1_io_stream_conv1d_vivado_synth.rpt": (
        "synthesis",
        "Vivado",
        "2024.1",
        "xcu250-figd2104-2L-e",
        None,
        (None,) * 4,
        (467, 24, 8565, 4864),
        0,
    ),
}


@needs_samples
@pytest.mark.parametrize("name", EXPECTED)
def test_published_reports_are_read_as_numbers(name: str) -> None:
    kind, tool, version, part, clock_ns, cycles, resources, uram = EXPECTED[name]
    found = read_report(SAMPLES / name)
    assert (found.kind, found.tool, found.version, found.part) == (kind, tool, version, part)
    assert found.clock_ns == clock_ns
    assert (found.latency_min, found.latency_max, found.ii_min, found.ii_max) == cycles
    assert tuple(found.resources) == resources
    assert found.uram == uram
    assert found.available["lut"] > found.resources.lut or found.part == "xc7z007s-clg225-2"


@needs_samples
def test_every_sample_is_expected() -> None:
    assert {p.name for p in SAMPLES.iterdir() if p.suffix in (".xml", ".rpt")} == set(EXPECTED)


@needs_samples
def test_text_and_xml_of_one_run_agree() -> None:
    text = read_report(SAMPLES / "vitis2024.1_io_parallel_myproject_csynth.rpt")
    tree = read_report(SAMPLES / "vitis2024.1_io_parallel_csynth_all_modules.xml")
    assert {m.name: m.resources.lut for m in text.modules} == {
        m.name: m.resources.lut for m in tree.modules
    }


@needs_samples
@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_report_is_one_clear_sentence(tmp_path: Path, name: str, share: float) -> None:
    text = (SAMPLES / name).read_text()
    # What a text report says stands before its details, so the cut is made before that.
    ends = {".xml": len(text.rstrip()), ".rpt": max(text.find("\n|Total "), text.find("| DSPs"))}
    cut = tmp_path / name
    cut.write_text(text[: int(ends[cut.suffix] * share)])
    with pytest.raises(ReportError) as caught:
        read_report(cut)
    assert str(caught.value).startswith(f"{cut}: is ")
    assert "\n" not in str(caught.value)


def test_golden_csynth_xml_with_modules() -> None:
    found = read_report(GOLDEN / "csynth_vitis.xml")
    assert (found.latency_min, found.latency_max, found.ii_min, found.ii_max) == (21, 22, 8, 9)
    assert found.resources == (136, 12, 9876, 4321)
    (module,) = found.modules
    assert module.name.startswith("dense_resource")
    assert (module.resources.dsp, module.latency_cycles, module.ii_cycles) == (128, 10, 8)


def test_a_block_ram_tile_counts_as_two() -> None:
    found = read_report(GOLDEN / "vivado_synth.rpt")
    assert found.resources == (134, 11, 5120, 2900)
    assert found.available["bram18"] == 5376


def test_cosim_gives_measured_cycles() -> None:
    found = read_report(GOLDEN / "myproject_cosim.rpt")
    assert (found.kind, found.latency_min, found.latency_max, found.ii_max) == ("cosim", 19, 21, 8)


def test_a_failed_cosim_is_no_result(tmp_path: Path) -> None:
    failed = tmp_path / "x_cosim.rpt"
    failed.write_text((GOLDEN / "myproject_cosim.rpt").read_text().replace("Pass", "Fail"))
    with pytest.raises(ReportError, match="did not pass"):
        read_report(failed)


@pytest.mark.parametrize("unknown", ["?", "undef"])
def test_latency_without_a_bound_is_none(tmp_path: Path, unknown: str) -> None:
    text = (GOLDEN / "csynth_vitis.xml").read_text()
    path = tmp_path / "csynth.xml"
    path.write_text(text.replace("<Worst-caseLatency>22<", f"<Worst-caseLatency>{unknown}<"))
    assert read_report(path).latency_max is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a report that can be read"),
        ("hello", "not a report that can be read"),
        ("<a/>", "not a C-synthesis report"),
        ("<profile><ReportVersion>", "damaged or truncated"),
        ("<profile><UserAssignments/></profile>", "no AreaEstimates"),
        ("Flow Summary\nQuartus Prime Version 20.1\nTotal DSP Blocks ; 12 / 1,518", "not a report"),
        ("; Tool Version : Vivado v.2020.1\n", "no row for lut"),
        ("== Vitis HLS Report for 'x'\n", "no timing summary"),
    ],
)
def test_damaged_and_foreign_reports_are_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "report.rpt"
    path.write_text(content)
    with pytest.raises(ReportError, match=words):
        read_report(path)


def test_binary_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.rpt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ReportError, match="text report"):
        read_report(tmp_path / "x.rpt")
    with pytest.raises(ReportError, match="no such report"):
        read_report(tmp_path / "y.rpt")
    with pytest.raises(ReportError, match="holds no report"):
        find_reports(tmp_path)


def test_measured_numbers_become_an_estimate(tmp_path: Path) -> None:
    reports = tmp_path / "myproject_prj" / "solution1" / "syn" / "report"
    reports.mkdir(parents=True)
    (reports / "myproject_csynth.xml").write_text((GOLDEN / "csynth_vitis.xml").read_text())
    (tmp_path / "vivado_synth.rpt").write_text((GOLDEN / "vivado_synth.rpt").read_text())
    found = to_estimate(find_reports(tmp_path), clock_ns=5.0)
    assert found.predicts == "synthesis"
    assert found.total == (134, 11, 5120, 2900)
    assert found.hls == (136, 12, 9876, 4321)
    assert (found.latency_cycles, found.ii_cycles) == (22, 9)
    assert found.tool == "Vitis HLS 2023.2 + Vivado 2023.2"
    assert found.layers[0].type == "dense_resource"


def test_the_overview_of_vitis_hls_is_no_report(tmp_path: Path) -> None:
    write_hls_output(tmp_path)
    assert [report.path.name for report in all_reports(tmp_path)["csynth"]] == ["csynth.xml"]
