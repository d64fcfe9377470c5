"""File formats: trial files and sweep files, strict, with faults as sentences.

Knows what a file may say, not whether a network has the layers it names: that needs the network and
is checked in `rfprune.study.space` and `rfprune.trial`.
"""

from rfprune.spec.agent import AgentSpec, RewardSpec
from rfprune.spec.base import Spec
from rfprune.spec.edge import ConditionsSpec, EdgeSpec
from rfprune.spec.hardware import HardwareSpec
from rfprune.spec.pruning import PruneSpec
from rfprune.spec.sweep import Condition, EarlyStopSpec, StopSpec, SweepSpec, parse_condition
from rfprune.spec.targets import TARGETS, TargetFacts
from rfprune.spec.training import TrainSpec
from rfprune.spec.trial import TrialSpec
from rfprune.tasks.spec import TaskSpec

__all__ = [
    "TARGETS",
    "AgentSpec",
    "Condition",
    "ConditionsSpec",
    "EarlyStopSpec",
    "EdgeSpec",
    "HardwareSpec",
    "PruneSpec",
    "RewardSpec",
    "Spec",
    "StopSpec",
    "SweepSpec",
    "TargetFacts",
    "TaskSpec",
    "TrainSpec",
    "TrialSpec",
    "parse_condition",
]
