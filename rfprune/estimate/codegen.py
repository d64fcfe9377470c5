"""The codegen estimator: the multipliers that stand in hls4ml's own C++, no vendor tool.

Counts come from the generated code (`rfprune.hls.codegen`); everything that the code does not say
(LUT, FF, cycles) is the analytic estimate for those counts.
"""

from __future__ import annotations

from pathlib import Path

from rfprune.errors import SpecError
from rfprune.estimate.design import Design
from rfprune.estimate.result import Estimate
from rfprune.estimate.weights import WeightStatistics

__all__ = ["estimate"]


def estimate(design: Design, project: Path | None = None) -> Estimate:
    """Return the estimate of a design whose hls4ml project has been written.

    Args:
        design: layers and hardware.
        project: folder of the hls4ml project.

    Raises:
        SpecError: no project is given; a design file alone has no generated code.
        ReportError: the project is damaged.
    """
    from dataclasses import replace

    from rfprune.estimate.analytic import estimate as analytic
    from rfprune.hls.codegen import read_project

    if project is None:
        raise SpecError(
            "estimator codegen reads generated C++, which a design file does not have. Allowed: "
            "the folder of a trial or of an exported network, or --by analytic."
        )
    generated = {layer.name: layer.live_multipliers for layer in read_project(project)}
    layers = tuple(
        layer.model_copy(update={"weights": _counted(layer.weights, generated[layer.name])})
        if layer.name in generated
        else layer
        for layer in design.layers
    )
    found = analytic(design.model_copy(update={"layers": layers}))
    return replace(found, source="codegen")


def _counted(weights: WeightStatistics | None, live: int) -> WeightStatistics:
    if weights is None:
        return WeightStatistics(count=live, nnz=live, live_groups=live)
    return weights.model_copy(update={"live_groups": live})
