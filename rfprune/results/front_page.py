"""A front as one HTML file that works offline: scatter plot, choice of axes, details, table."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from rfprune.results.axes import FAR, LOG_RATIO, axis_pairs, known_quantities
from rfprune.results.front import Front
from rfprune.results.labels import marks, plain, reading, summary
from rfprune.results.noise import error_of

__all__ = ["front_html"]


def front_html(front: Front) -> str:
    """Return the page with all candidates of the sweep; it loads nothing from elsewhere."""
    page = files("rfprune.results").joinpath("page.html").read_text(encoding="utf-8")
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
        "labels": {name: view.quantities[name].label for name in quantities},
        "directions": {name: view.quantities[name].direction for name in quantities},
        "fractions": [name for name in quantities if view.quantities[name].kind != "amount"],
        "constraints": [
            {"name": c.name, "bound": c.bound, "text": str(c)} for c in view.constraints
        ],
        # Once per trial, not per point: a sweep has tens of thousands of points.
        "params": {t.number: dict(t.params) for t in view.trials},
        "reading": reading(front),
        "part": view.part,
        "capacity": {name: plain(value) for name, value in view.capacity.items()},
        "far": FAR,
        "marks": {
            f"{c.trial}.{c.step}": words for c in view.candidates if (words := marks(front, c))
        },
        # Of the points whose intervals are drawn and listed: low and high end by quantity.
        "between": {
            f"{c.trial}.{c.step}": {
                name: [plain(end) for end in ends]
                for name in quantities
                if (ends := c.between(name)) is not None
            }
            for c in front.shown
        },
        "shown": [[c.trial, c.step] for c in front.shown],
        "score": view.score,
        "errors": {
            f"{c.trial}.{c.step}": error
            for c in front.shown
            if (error := plain(error_of(c, view.score)))
        },
        "points": [
            [c.trial, c.step, c.feasible, ranks.get((c.trial, c.step), -1)]
            + [plain(c.metrics.get(name)) for name in quantities]
            for c in view.candidates
        ],
    }
