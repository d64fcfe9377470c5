"""What Vitis HLS leaves of a small function: RTL in its style, and the report beside it."""

from __future__ import annotations

from pathlib import Path

_TOP = """
module myproject (ap_clk, ap_rst, x, at, y);
input ap_clk; input ap_rst; input [15:0] x; input [9:0] at; output [31:0] y;
wire [15:0] weight;
reg [31:0] product_reg;
myproject_w2_rom w2_U (.address0(at), .ce0(1'b1), .q0(weight), .clk(ap_clk));
myproject_mul_16s_16s_32_1_1 mul_U (.din0(x), .din1(weight), .dout(product));
wire [31:0] product;
always @ (posedge ap_clk) begin
    if (ap_rst) product_reg <= 0; else product_reg <= product;
end
assign y = product_reg ^ 32'd5;
endmodule
"""
#: The weights, read from a file with a path as HLS writes it, and the module of a name of its own.
_ROM = """
(* ram_style = "block" *)
module myproject_w2_rom (address0, ce0, q0, clk);
input [9:0] address0; input ce0; output reg [15:0] q0; input clk;
reg [15:0] ram[0:1023];
initial begin
    $readmemh("./{memory}", ram);
end
always @(posedge clk) begin
    if (ce0) q0 <= ram[address0];
end
endmodule
"""
_MUL = """
module myproject_mul_16s_16s_32_1_1 (din0, din1, dout);
input [15:0] din0; input [15:0] din1; output [31:0] dout;
assign dout = $signed(din0) * $signed(din1);
endmodule
"""
_UNUSED = "module left_from_before (a); input a; this is no Verilog endmodule\n"
_REPORT = """<profile>
<ReportVersion><Version>2022.2</Version></ReportVersion>
<UserAssignments><Part>{part}</Part><TopModelName>myproject</TopModelName>
<TargetClockPeriod>4.00</TargetClockPeriod></UserAssignments>
<PerformanceEstimates>
<SummaryOfTimingAnalysis><EstimatedClockPeriod>2.9</EstimatedClockPeriod></SummaryOfTimingAnalysis>
<SummaryOfOverallLatency><Best-caseLatency>7</Best-caseLatency>
<Worst-caseLatency>9</Worst-caseLatency><Interval-min>2</Interval-min>
<Interval-max>3</Interval-max></SummaryOfOverallLatency></PerformanceEstimates>
<AreaEstimates><Resources><BRAM_18K>1</BRAM_18K><DSP>1</DSP><FF>70</FF><LUT>90</LUT></Resources>
<AvailableResources><BRAM_18K>280</BRAM_18K></AvailableResources></AreaEstimates>
</profile>
"""
#: What Vitis HLS writes beside its reports: modules and loops in one table, no totals.
_OVERVIEW = """

================================================================
== Synthesis Summary Report of 'myproject'
================================================================
+ General Information:
    * Version:        2022.2 (Build 3670227 on Oct 13 2022)
"""


def write_hls_output(project: Path, part: str = "xc7z020-clg400-1") -> Path:
    """Write the solution of an hls4ml project; return its folder ``syn``."""
    syn = project / "myproject_prj" / "solution1" / "syn"
    verilog, memory = syn / "verilog", "myproject_w2_rom.dat"
    verilog.mkdir(parents=True)
    (syn / "report").mkdir()
    (verilog / "myproject.v").write_text(_TOP)
    (verilog / "myproject_w2.v").write_text(_ROM.replace("{memory}", memory))
    (verilog / "myproject_mul_16s_16s_32_1_1.v").write_text(_MUL)
    (verilog / "left_from_before.v").write_text(_UNUSED)
    (verilog / memory).write_text("".join(f"{7 * i % 65536:04x}\n" for i in range(1024)))
    (syn / "report" / "csynth.xml").write_text(_REPORT.format(part=part))
    (syn / "report" / "csynth.rpt").write_text(_OVERVIEW)
    return syn
