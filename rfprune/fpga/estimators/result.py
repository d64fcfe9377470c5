"""What an estimator returns: resources and cycles, in all and per layer.

Every number belongs to one of two kinds: what the report of C synthesis says (``"hls"``) or what is
left after logic synthesis (``"synthesis"``). They differ by about a factor of two in LUTs, so an
estimate names its kind and carries both where both are known. Unknown is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rfprune.core.quantities import RESOURCES, Resources
from rfprune.hardware.parts import Part, find_part

__all__ = ["Estimate", "LayerEstimate", "Predicts"]

Predicts = Literal["hls", "synthesis"]


@dataclass(frozen=True)
class LayerEstimate:
    """Resources and cycles of one layer, of the kind that its `Estimate` predicts.

    Attributes:
        name: layer name.
        type: layer type, see `rfprune.fpga.estimators.design.LAYER_TYPES`.
        reuse_factor: how often one multiplier is used.
        strategy: hls4ml strategy, None for layers without weights.
        dsp, bram18, lut, ff: counts, None where not known.
        latency_cycles: cycles from first input to last output.
        ii_cycles: cycles between two inputs.
    """

    name: str
    type: str
    reuse_factor: int
    strategy: str | None
    dsp: int | None = None
    bram18: int | None = None
    lut: int | None = None
    ff: int | None = None
    latency_cycles: int | None = None
    ii_cycles: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the layer as plain JSON values."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Estimate:
    """Resources and cycles of a design.

    Example::

        found = rfprune.estimate(net, (8,), hardware={"part": "pynq-z2", "reuse_factor": 4})
        found.quantities()["lut.high"], found.latency_ns, found.dominant("dsp").name
        found.fits("pynq-z2"), found.utilization("pynq-z2")["dsp"]
        found.device("zcu102").name, found.to_json("zcu102")["layers"]

    Attributes:
        source: name of the estimator.
        predicts: kind of `total` and of the layers.
        total: resources of the whole design, as counts: dsp, bram18, lut, ff.
        latency_cycles: cycles from first input to last output.
        ii_cycles: cycles between two inputs.
        clock_ns: clock period in ns.
        layers: in order of execution; empty where the estimator sees only the whole.
        tool: tool and generation that is predicted or was run.
        hls: whole design in the C-synthesis report, or None.
        synthesis: whole design after logic synthesis, or None.
        intervals: (low, high) of the quantities of `total`, of the cycles and of `reachable_ns`,
            that hold the truth in nine of ten designs; of the analytic estimator.
        reachable_ns: clock period that the tool will state for its schedule, in ns, or None.
        power_mw: estimated total power in mW, see `rfprune.fpga.estimators.power`, or None.
        measured_on: device on which it was measured where that is not the part of the design.
        notes: what a reader must know, one sentence each.
    """

    source: str
    predicts: Predicts
    total: Resources
    latency_cycles: int | None
    ii_cycles: int | None
    clock_ns: float
    layers: tuple[LayerEstimate, ...] = ()
    tool: str | None = None
    hls: Resources | None = None
    synthesis: Resources | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reachable_ns: float | None = None
    power_mw: float | None = None
    measured_on: Part | None = None
    notes: tuple[str, ...] = ()

    @property
    def latency_ns(self) -> float | None:
        """Latency in ns at the target clock."""
        return None if self.latency_cycles is None else self.latency_cycles * self.clock_ns

    def quantities(self) -> dict[str, float | None]:
        """Return every whole-design quantity by its name in files, metrics and tables.

        The ends of an interval are ``lut.low`` and ``lut.high``.
        """
        # As quantities of their own, so that a constraint or a plot may name an end of an interval.
        ends = {
            f"{name}.{end}": value
            for name, pair in self.intervals.items()
            for end, value in zip(("low", "high"), pair, strict=True)
        }
        return {
            **ends,
            **self.total._asdict(),
            "latency_cycles": self.latency_cycles,
            "ii_cycles": self.ii_cycles,
            "latency_ns": self.latency_ns,
            "power_mw": self.power_mw,
            "reachable_ns": self.reachable_ns,
        }

    def device(self, part: Part | str) -> Part:
        """Return what the counts are of: the device of a measurement, else the design's `part`.

        Args:
            part: a device, or the name of one or of a board, as the other methods take it.

        Raises:
            UnknownNameError: no part of that name; names the nearest one.
        """
        found = find_part(part) if isinstance(part, str) else part
        return self.measured_on or found

    def utilization(self, part: Part | str) -> dict[str, float | None]:
        """Return the used fraction of each resource of `part`; None where unknown."""
        device = self.device(part)
        return {
            name: None if used is None else used / getattr(device, name)
            for name, used in self.total._asdict().items()
        }

    def fits(self, part: Part | str) -> bool:
        """Return whether every known resource is within `part`, and the clock can be reached."""
        reached = self.reachable_ns is None or self.reachable_ns <= self.clock_ns
        # Unknown use is no reason to refuse a part.
        return reached and all(u is None or u <= 1 for u in self.utilization(part).values())

    def dominant(self, resource: str) -> LayerEstimate | None:
        """Return the layer with the most of `resource` (dsp, bram18, lut or ff), or None."""
        known = [layer for layer in self.layers if getattr(layer, resource)]
        return max(known, key=lambda layer: getattr(layer, resource), default=None)

    def to_json(self, part: Part | str) -> dict[str, Any]:
        """Return the object that ``rfprune estimate --json`` prints for `part`; unknown is null."""
        total = {**self.total._asdict()}
        total.update(latency_cycles=self.latency_cycles, ii_cycles=self.ii_cycles)
        dominant = {name: self.dominant(name) for name in RESOURCES}
        return {
            "source": self.source,
            "predicts": self.predicts,
            "tool": self.tool,
            "part": self.device(part).name,
            "clock_ns": self.clock_ns,
            "total": total,
            "hls": None if self.hls is None else self.hls._asdict(),
            "synthesis": None if self.synthesis is None else self.synthesis._asdict(),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "reachable_ns": self.reachable_ns,
            "layers": [layer.to_json() for layer in self.layers],
            "dominant": {name: layer.name if layer else None for name, layer in dominant.items()},
            "fits": self.fits(part),
            "utilization": self.utilization(part),
            "latency_ns": self.latency_ns,
            "power_mw": self.power_mw,
            "notes": list(self.notes),
        }
