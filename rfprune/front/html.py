"""A front as one HTML file that works offline: scatter plot, choice of axes, details, table."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from rfprune.front.axes import LOG_RATIO, axis_pairs, known_quantities
from rfprune.front.front import Front
from rfprune.front.labels import FRACTIONS, LABELS, plain, summary
from rfprune.front.points import selecting
from rfprune.quantities import DIRECTIONS

__all__ = ["front_html"]


def front_html(front: Front) -> str:
    """Return the page with all candidates of the sweep; it loads nothing from elsewhere."""
    page = files("rfprune.front").joinpath("page.html").read_text(encoding="utf-8")
    # A "<" inside the data could end the script element that carries them.
    payload = json.dumps(_payload(front), separators=(",", ":")).replace("<", "\\u003c")
    return page.replace("__DATA__", payload)


def _payload(front: Front) -> dict[str, Any]:
    view = front.view
    quantities = known_quantities(front)
    ranks = {(point.trial, point.step): rank for rank, point in enumerate(front.points)}
    x, y = axis_pairs(front)[0]
    return {
        "sweep": view.name,
        "summary": summary(front),
        "x": x,
        "y": y,
        "log_ratio": LOG_RATIO,
        "quantities": quantities,
        "labels": {name: LABELS[name] for name in quantities},
        "directions": {name: DIRECTIONS[name] for name in quantities},
        "fractions": list(FRACTIONS),
        "constraints": [
            {"name": selecting(c.name), "bound": c.bound, "text": str(c)} for c in view.constraints
        ],
        "params": {t.number: dict(t.params) for t in view.trials},
        "points": [
            [c.trial, c.step, c.feasible, ranks.get((c.trial, c.step), -1)]
            + [plain(c.metrics.get(name)) for name in quantities]
            for c in view.candidates
        ],
    }
