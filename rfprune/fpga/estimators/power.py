"""A rough power figure from resources, clock and toggle rate. An estimate, never a measurement.

``power = static + V^2 * f * toggle * sum over resources of count * effective capacitance``. The
effective capacitances are assumed: round figures per resource with its local routing, the same for
every family. Eleven routed designs whose ``report_power`` others published (28, 16 and 7 nm, no
simulation of their activity) show what they are worth: this sum is 0.6 to 1.4 times the tool's
figure for clocks, logic, signals, block RAMs and DSPs in ten of them, 0.7 times in the median, and
four times in one whose memories stand idle. What it does not know: real switching activity,
placement, I/O, clock managers, transceivers, memory controllers, and the work of the processors of
a system on chip. Expect a factor of two either way, and better than that when comparing designs on
one part.
"""

from __future__ import annotations

from dataclasses import dataclass

from rfprune.fpga.estimators.result import Estimate
from rfprune.hardware.parts import PARTS, Part

__all__ = ["CAPACITANCE_PF", "CORE_VOLTAGE", "PowerEstimate", "estimate_power"]

#: Switched capacitance per resource and toggle in pF, with local routing and its share of the
#: clock: assumed, see above.
CAPACITANCE_PF: dict[str, float] = {"dsp": 22.0, "bram18": 26.0, "lut": 0.45, "ff": 0.16}
#: Core voltage by device or family: `Vccint` in published ``report_power`` texts of each family but
#: Kintex-7 and two Versal series, which are taken to be like their relatives. The device of the
#: Kria K26 is sold in the low-voltage grade -2LV only (0.698 to 0.742 V among the part properties
#: of Vivado 2024.1).
CORE_VOLTAGE: dict[str, float] = {
    "xck26": 0.72,
    "Artix-7": 1.0,
    "Kintex-7": 1.0,
    "Virtex-7": 1.0,
    "Zynq-7000": 1.0,
    "Kintex UltraScale": 0.95,
    "Versal AI Core": 0.8,
    "Versal AI Edge": 0.8,
    "Versal Prime": 0.8,
}
_PLUS_VOLTAGE = 0.85


@dataclass(frozen=True)
class PowerEstimate:
    """Power in mW and what was assumed.

    Attributes:
        dynamic_mw: of the design's own logic.
        static_mw: of the idle part, or None where no figure is known.
        total_mw: the sum, or None.
        toggle_rate: share of cycles in which a signal changes.
        assumptions: one sentence.
    """

    dynamic_mw: float
    static_mw: float | None
    total_mw: float | None
    toggle_rate: float
    assumptions: str


def _static(part: Part) -> tuple[float | None, str]:
    """Return the static power in mW: of the part, or scaled by size from its nearest relative."""
    if part.static_power_mw is not None:
        return part.static_power_mw, "static of a typical part in air of 25 C"
    family = part.family.removesuffix(" HBM").removesuffix(" RFSoC")
    # Leakage goes with the area of the silicon and with the process, which a family shares.
    known = [p for p in PARTS.values() if p.static_power_mw and p.family.startswith(family)]
    if not known:
        return None, "static not known"
    near = min(known, key=lambda p: abs(p.lut - part.lut))
    scaled = (near.static_power_mw or 0.0) * part.lut / near.lut
    return scaled, f"static of {near.name} scaled by LUTs"


def estimate_power(
    estimate: Estimate, part: Part, toggle_rate: float = 0.125, duty: float = 1.0
) -> PowerEstimate | None:
    """Return the power of a design on a part, or None where a resource count is unknown.

    Args:
        estimate: resources (after logic synthesis where known) and clock.
        part: device, for core voltage and static power.
        toggle_rate: share of cycles in which a signal changes; 12.5 % is the default of AMD's
            tools.
        duty: share of time in which inferences run.
    """
    # What is built counts, where it is known.
    resources = estimate.synthesis or estimate.total
    counts = resources._asdict()
    if any(count is None for count in counts.values()):
        return None
    voltage = CORE_VOLTAGE.get(part.name, CORE_VOLTAGE.get(part.family, _PLUS_VOLTAGE))
    picofarad = sum(CAPACITANCE_PF[name] * counts[name] for name in CAPACITANCE_PF)
    # pF * V^2 / ns = mW: 1e-12 F * V^2 * 1e9 / s = 1e-3 W.
    dynamic = picofarad * voltage**2 / estimate.clock_ns * toggle_rate * duty
    static, origin = _static(part)
    return PowerEstimate(
        dynamic_mw=dynamic,
        static_mw=static,
        total_mw=None if static is None else static + dynamic,
        toggle_rate=toggle_rate,
        assumptions=(
            f"Power is an estimate: core {voltage:g} V, {1e3 / estimate.clock_ns:.0f} MHz, toggle "
            f"rate {toggle_rate:.1%}, busy {duty:.0%}, {origin}, no I/O"
        ),
    )
