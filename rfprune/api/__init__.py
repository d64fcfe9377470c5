"""What users call from Python, and what the commands are thin over.

But for `Point` and `Sweep` each name is a function that does what a command does. Importing this
package loads neither torch nor Ray.
"""

from rfprune.api.checking import check
from rfprune.api.estimating import estimate
from rfprune.api.exports import certify, quantize
from rfprune.api.points import Point
from rfprune.api.sweeps import Sweep, open_run, pareto, prune, retarget, sweep

__all__ = [
    "Point",
    "Sweep",
    "certify",
    "check",
    "estimate",
    "open_run",
    "pareto",
    "prune",
    "quantize",
    "retarget",
    "sweep",
]
