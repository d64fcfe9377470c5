"""What users call from Python, and what the commands are thin over.

But for `Point` and `Sweep` each name is a function that does what a command does. Importing this
package loads neither torch nor Ray.
"""

from rfprune.api.adapting import adapt
from rfprune.api.calibrating import calibrate, calibrate_device
from rfprune.api.checking import check
from rfprune.api.estimating import estimate
from rfprune.api.exports import certify, quantize
from rfprune.api.federating import federate
from rfprune.api.jobs import job, submit
from rfprune.api.listing import names, schema
from rfprune.api.points import Point
from rfprune.api.sweeps import Sweep, open_run, pareto, prune, retarget, sweep
from rfprune.api.upkeep import clean, track, ui

__all__ = [
    "Point",
    "Sweep",
    "adapt",
    "calibrate",
    "calibrate_device",
    "certify",
    "check",
    "clean",
    "estimate",
    "federate",
    "job",
    "names",
    "open_run",
    "pareto",
    "prune",
    "quantize",
    "retarget",
    "schema",
    "submit",
    "sweep",
    "track",
    "ui",
]
