"""File formats: trial files and sweep files, strict, with faults as sentences.

Knows what a file may say, not whether a network has the layers it names: that needs the network and
is checked in `rfprune.search.space` and `rfprune.trial`.
"""

from rfprune.spec.agent import AgentSpec, RewardSpec
from rfprune.spec.base import Spec
from rfprune.spec.edge import ConditionsSpec, EdgeSpec
from rfprune.spec.sweep import Condition, EarlyStopSpec, SweepSpec, parse_condition
from rfprune.spec.trial import HardwareSpec, PruneSpec, TrainSpec, TrialSpec

__all__ = [
    "AgentSpec",
    "Condition",
    "ConditionsSpec",
    "EarlyStopSpec",
    "EdgeSpec",
    "HardwareSpec",
    "PruneSpec",
    "RewardSpec",
    "Spec",
    "SweepSpec",
    "TrainSpec",
    "TrialSpec",
    "parse_condition",
]
