"""Where the figures of the parts catalogue come from, and which of them nobody could check.

Counts are what the 'Available' column of a report says that others published, named by repository
and path on GitHub; where none was found the text begins with "not confirmed". Static power is the
'Device Static' figure of Vivado's ``report_power`` for a typical device in 25 C air, with the
temperature of its junction; it holds the processors of a system on chip and, on devices that have
it, the stacked memory.
"""

from __future__ import annotations

__all__ = ["COUNTS", "NOT_CONFIRMED", "STATIC_POWER"]

NOT_CONFIRMED = "not confirmed"


def _data_sheet(name: str) -> str:
    return f"{NOT_CONFIRMED}: no report or text was found; said to be in AMD {name}"


_VIVADO = "Vivado utilization report: "
_HLS = "HLS report: "
_IMPL = "project_1/project_1.runs/impl_1/"
_SYNTHESIS = "solution1/syn/report/"
_VCU118 = "cshea3/vcu118, hw/project_1/project_1.runs/"
_KU5P = "tommythorn/rk-xcku5p-f-v1.2, designs/"
_VC707 = "Raynaril/Xilinx-virtex7-vc707, ip_clk/ip_clk.runs/"
_ZCU111 = "mishra999/Vivado_ZCU111, V10_5/V10_4.runs/"
_VU13P = "WynneChen9/EPS-VU13P_Design_Lab, lab1_led/LED_lab1/LED_lab1.runs/"
_RHEED = "src/hdl/RHEED_Gaussian/hls4ml/gaussian_hls4ml_prj/myproject_prj/"
_AXKU040 = "DRubioG/AXKU040, _/01_Demo_Document/Verilog HDL Demos/01_led_test/01_led_test.runs/"
_AXU2CG = "DRubioG/AXU2CG, _/"
_DMA = "course_s2/20_ad9238_dma_dp/vivado/ad9238_dma_dp.runs/design_1_ad9238_sample_0_0_synth_1/"

#: Part -> source of its counts of DSP, block RAM, UltraRAM, look-up tables and flip-flops.
COUNTS: dict[str, str] = {
    "xc7a35t": f"{_VIVADO}Ryo8713/LogicDesign_final, {_IMPL}top_utilization_placed.rpt",
    "xc7a100t": f"{_VIVADO}Hayabusa88230202/cpuex, {_IMPL}top_utilization_placed.rpt",
    "xc7a200t": f"{_VIVADO}qxynju2017/Nexys-Video-Lwip-Echo-Example, {_IMPL}"
    "design_1_wrapper_utilization_placed.rpt (AMD DS180 has 134600 look-up tables)",
    "xc7k160t": _data_sheet("DS180"),
    "xc7k325t": _data_sheet("DS180"),
    "xc7k410t": _data_sheet("DS180"),
    "xc7vx485t": f"{_VIVADO}{_VC707}synth_1/ip_clk_utilization_synth.rpt",
    "xc7vx690t": f"{_HLS}uw-acme/HLS4ML_VS_MANUAL, src/hdl/Quickdraw/keras/model_1/hls4ml_gru/"
    f"smaller_reuse/myproject_prj/{_SYNTHESIS}myproject_csynth.rpt",
    "xc7z007s": f"{_HLS}ArgyKokk/hls4ml_MLP_estimator, HLS_MLPs/jet_tagging/hls4ml_prj/DSP_reuse2/"
    f"myproject_prj/{_SYNTHESIS}myproject_csynth.xml",
    "xc7z010": f"{_VIVADO}pcsrule/zybo-audio, {_IMPL}design_1_wrapper_utilization_placed.rpt",
    "xc7z020": f"{_HLS}fastmachinelearning/hls4ml, test/pytest/test_report/Vivado/"
    "myproject_csynth.rpt",
    "xc7z030": _data_sheet("DS190"),
    "xc7z045": f"{_VIVADO}sagark/vivado_xapp1082, project_1.runs/impl_1/"
    "design_1_wrapper_utilization_placed.rpt",
    "xc7z100": f"{_VIVADO}buloruabutata/ax7z100_pynq, {_IMPL}"
    "design_1_wrapper_utilization_placed.rpt",
    "xcku035": f"{_HLS}uw-acme/HLS4ML_VS_MANUAL at 78dabd1, {_RHEED}{_SYNTHESIS}"
    "compute_output_buffer_2d_array_array_ap_fixed_8_2_5_3_0_6u_config2_s_csynth.xml",
    "xcku040": f"{_VIVADO}{_AXKU040}synth_1/led_utilization_synth.rpt",
    "xcku060": _data_sheet("DS890"),
    "xcku115": "part properties of Vivado 2023.2 as quoted in futureproofbear/fpga-ai-framework, "
    "page on Kintex UltraScale device facts",
    "xcku5p": f"{_VIVADO}{_KU5P}07uart_eco/07uart_eco.runs/synth_1/uart_eco_utilization_synth.rpt",
    "xcku15p": _data_sheet("DS890"),
    "xcvu7p": _data_sheet("DS890"),
    "xcvu9p": f"{_VIVADO}{_VCU118}design_1_dlmb_v10_0_synth_1/"
    "design_1_dlmb_v10_0_utilization_synth.rpt",
    "xcvu13p": f"{_VIVADO}{_VU13P}db_util_ds_buf_0_0_synth_1/"
    "db_util_ds_buf_0_0_utilization_synth.rpt",
    "xcvu37p": f"{_HLS}caohy168/bbp_vcu128, apsk_mdem/apskmod/apskmod/{_SYNTHESIS}"
    "apskmod_csynth.rpt",
    "xcu50": f"{_HLS}Lrozzy/hls4ml_OpenML, model_3.1_5/hls4ml_prj/myproject_prj/{_SYNTHESIS}"
    "myproject_csynth.rpt",
    "xcu55c": f"{_HLS}omsheladia/attention_score_u55c, backups/run_20260429_201240/hls_reports/"
    "report/score_scale_core_hls_csynth.rpt",
    "xcu200": f"{NOT_CONFIRMED}: no report was found; the counts are those of xcvu9p, the device "
    "that AMD DS962 names",
    "xcu250": f"{_HLS}seanlipps/ECE226_CoDesign, model_1/hls4ml_prj/myproject_prj/{_SYNTHESIS}"
    "myproject_csynth.rpt",
    "xcu280": f"{_HLS}UCLA-VAST/AutoBridge, benchmarks/PageRank/tapa_results/report/"
    "reg_float_s_csynth.rpt",
    "xczu1eg": f"{_HLS}flyingbrids/ZUBOARD_1CG, hls_ip/hls_ip/hls/syn/report/"
    "data_packet_csynth.rpt (xczu1cg: the same logic)",
    "xczu2eg": f"{_VIVADO}{_AXU2CG}{_DMA}design_1_ad9238_sample_0_0_utilization_synth.rpt "
    "(xczu2cg: the same logic)",
    "xczu3eg": "AlexMontgomerie/fpgaconvnet-model, fpgaconvnet/platform/configs/zu3eg.toml",
    "xczu5ev": f"{NOT_CONFIRMED}: no report was found; the counts are those of xck26",
    "xck26": "part properties of Vivado 2024.1: SoC-Labs/nanoSoC-FPGA-Toolkit, "
    "part/xck26-sfvc784-2LV-c/part.tcl",
    "xczu7ev": f"{_HLS}Arun-66/AN50_ZCU104, Alex_Net/Conv1/syn/report/conv1_Pipeline_L1_csynth.rpt",
    "xczu9eg": f"{_VIVADO}thaarres/dnd_hls4ml, vivado_synth.rpt",
    "xczu28dr": f"{_VIVADO}{_ZCU111}design_1_usp_rf_data_converter_0_0_synth_1/"
    "design_1_usp_rf_data_converter_0_0_utilization_synth.rpt",
    "xczu48dr": f"{_VIVADO}samuelkravitz/RFSOC, {_IMPL}design_1_wrapper_utilization_placed.rpt",
    "xcvc1902": "utilization table of a routed design: SurviiingZc/FLOPA, "
    "docs/ppa_and_optimization.md",
    "xcvm1802": f"{_VIVADO}yasuhiko-nakashima/IMAX2-VMK180-step4000, VMK180_32st.runs/synth_1/"
    "design_1_wrapper_utilization_synth.rpt",
    "xcve2802": f"{_VIVADO}GhlHub/vek280_bitcoin_miner, reports/impl_vek280_4x32_ooc_dsp/"
    "utilization_flat_impl.rpt",
}

_ASSUMED = f"{NOT_CONFIRMED}: a round figure, no report was found"

#: Part -> idle power in mW and its source; parts that are not named have no figure.
STATIC_POWER: dict[str, tuple[float, str]] = {
    "xc7a35t": (73, f"25 C: Ryo8713/LogicDesign_final, {_IMPL}top_power_routed.rpt"),
    "xc7a100t": (108, f"30 C: Hayabusa88230202/cpuex, {_IMPL}top_power_routed.rpt"),
    "xc7a200t": (
        167,
        f"29 C: qxynju2017/Nexys-Video-Lwip-Echo-Example, {_IMPL}design_1_wrapper_power_routed.rpt",
    ),
    "xc7k325t": (160, _ASSUMED),
    "xc7vx485t": (243, f"25 C: {_VC707}impl_1/ip_clk_power_routed.rpt"),
    "xc7vx690t": (340, _ASSUMED),
    "xc7z010": (
        95,
        f"{NOT_CONFIRMED} at 25 C; 133 mW at 44 C: pcsrule/zybo-audio, {_IMPL}"
        "design_1_wrapper_power_routed.rpt",
    ),
    "xc7z020": (106, f"26 C: joshuachang9221/LogicDesign_Verilog, {_IMPL}top_power_routed.rpt"),
    "xc7z045": (210, _ASSUMED),
    "xc7z100": (
        236,
        f"28 C: buloruabutata/ax7z100_pynq, {_IMPL}design_1_wrapper_power_routed.rpt",
    ),
    "xcku040": (478, f"26 C: {_AXKU040}impl_1/led_power_routed.rpt"),
    "xcku115": (1300, _ASSUMED),
    "xcku5p": (451, f"26 C: {_KU5P}12_UDP_TEST/udp_test.runs/impl_1/eth_udp_loop_power_routed.rpt"),
    "xcvu9p": (2472, f"26 C: {_VCU118}impl_1/design_1_wrapper_power_routed.rpt"),
    "xcvu13p": (2946, f"27 C: {_VU13P}impl_1/db_wrapper_power_routed.rpt"),
    "xcvu37p": (
        3127,
        "26 C: caohy168/bbp_vcu128, xdma_bpu_ex/imports/apsk_mdem/apskmod/verilog/project.runs/"
        "impl_1/apskmod_power_routed.rpt",
    ),
    "xcu200": (2472, f"{NOT_CONFIRMED}: as xcvu9p, whose counts it has"),
    "xcu250": (2946, f"{NOT_CONFIRMED}: as xcvu13p, whose counts it has"),
    "xcu280": (3127, f"{NOT_CONFIRMED}: as xcvu37p, whose counts it has"),
    "xczu2eg": (
        333,
        f"31 C: {_AXU2CG}course_s6/vivado/02_led_register/led_register.runs/impl_1/"
        "design_1_wrapper_power_routed.rpt (xczu2cg)",
    ),
    "xczu3eg": (
        333,
        f"{NOT_CONFIRMED}: as xczu2eg, whose report counts the carry chains of xczu3eg",
    ),
    "xczu5ev": (310, _ASSUMED),
    "xck26": (310, _ASSUMED),
    "xczu7ev": (590, _ASSUMED),
    "xczu9eg": (600, _ASSUMED),
    "xczu28dr": (1226, f"31 C: {_ZCU111}impl_1/design_1_wrapper_power_routed.rpt"),
    "xczu48dr": (1290, f"30 C: samuelkravitz/RFSOC, {_IMPL}design_1_wrapper_power_routed.rpt"),
}
