"""How long operations take in an HLS schedule, and how much of a clock period they may fill.

HLS chains operations until their delays fill the period that it schedules for: the asked one less
the clock uncertainty, which is 12.5 % by default in Vivado HLS (AMD UG902) and 27 % in Vitis HLS
(AMD UG1399). Reports bear this out: the longest chain is 4.38 ns of 5, 2.91 of 3.33 and 8.70 of
10 in Vivado HLS; 3.65 of 5 and 2.43 of 3.33 in Vitis HLS.
"""

from __future__ import annotations

__all__ = [
    "ADD_NS",
    "COMPARE_NS",
    "PRODUCT_NS",
    "ROUND_NS",
    "SATURATED_NS",
    "SERIES7",
    "UNCERTAINTY",
]

#: Share of the period that HLS keeps back, by tool.
UNCERTAINTY: dict[str, float] = {"Vivado HLS": 0.125, "Vitis HLS": 0.27}

#: One level of an adder tree: average pooling of two elements is one sum, and reports 0.785 ns;
#: of four, two levels and 1.46 ns (Vitis HLS 2024.1 and Vivado HLS 2020.1). In Vivado HLS trees of
#: four levels without products report 3.70 and 3.82 ns.
ADD_NS: dict[str, float] = {"Vivado HLS": 0.92, "Vitis HLS": 0.785}
#: A comparison and the choice that it makes: maximum of two elements.
COMPARE_NS = 1.03
#: A product in a DSP block: layers of one report 4.155 ns (Vivado HLS 2020.1) and 3.36 ns (Vitis
#: HLS 2024.1).
PRODUCT_NS: dict[str, float] = {"Vivado HLS": 4.155, "Vitis HLS": 3.36}
#: ReLU with rounding and saturation: 3.53 ns at 5 ns, and a stage more at 3.33 ns.
ROUND_NS = 3.53
#: A sum that saturates: 64 of them take about 25 cycles of 8.75 ns (one design).
SATURATED_NS = 3.4
#: How much slower sums are on 7 series: the same design states 58.5 ns for its longest path on
#: Kintex UltraScale+ and 136.9 ns on Artix-7.
SERIES7 = 2.3
