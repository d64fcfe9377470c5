"""The codegen estimator: the multipliers that stand in hls4ml's own C++, no vendor tool.

Counts come from the generated code (`rfprune.fpga.hls.generated_code`); everything that the code
does not say (LUT, FF, cycles) is the analytic estimate for those counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from rfprune.fpga.estimators.analytic import estimate as by_rules
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.result import Estimate
from rfprune.fpga.estimators.weights import WeightStatistics
from rfprune.spec.hardware import layer_of

__all__ = ["estimate"]


def estimate(design: Design, project: Path) -> Estimate:
    """Return the estimate of a design whose hls4ml project has been written.

    Args:
        design: layers and hardware.
        project: folder of the hls4ml project.

    Raises:
        ReportError: the project is damaged.
    """
    # Imported here: hls4ml's room imports torch, which listing and design files do without.
    from rfprune.fpga.hls.generated_code import read_project

    layers = {layer.name: layer for layer in design.layers}
    counts: Counter[str] = Counter()
    for generated in read_project(project):
        # Both weights of a recurrent layer count for it.
        whole = layer_of(generated.name)
        name = whole if whole in layers else generated.name
        counts[name] += generated.live_multipliers
    for name, live in counts.items():
        layer = layers.get(name)
        if layer is None:
            continue
        known = layer.weights or WeightStatistics(count=live, nnz=live)
        counted = known.model_copy(update={"live_groups": live})
        layers[name] = layer.model_copy(update={"weights": counted})
    found = by_rules(design.model_copy(update={"layers": tuple(layers.values())}))
    return replace(found, source="codegen")
