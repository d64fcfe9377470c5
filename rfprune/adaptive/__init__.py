"""One network, several levels of pruning: fitted together, chosen per batch at run time.

`SlimmableNetwork` holds one set of weights and A nested levels; `fit_levels` trains them together;
`AdaptiveModel` picks a level for every batch from input statistics and a power budget, by a table
of measurements (`TableRule`) or a learned policy (`AgentRule`), and is saved as one file.

Running one needs torch alone: no package of the extra ``edge``. This room does not know sweeps,
trials or how an agent learns.
"""

from __future__ import annotations

from rfprune.adaptive.fitting import fit_levels, recalibrate
from rfprune.adaptive.levels import Levels, level_power, make_levels
from rfprune.adaptive.model import AdaptiveModel, Decision
from rfprune.adaptive.policy import AgentRule, LevelPolicy, Rule, TableRule, agent_rule
from rfprune.adaptive.slimmable import SlimmableNetwork
from rfprune.adaptive.table import LevelTable, LevelTask, measure_levels

__all__ = [
    "AdaptiveModel",
    "AgentRule",
    "Decision",
    "LevelPolicy",
    "LevelTable",
    "LevelTask",
    "Levels",
    "Rule",
    "SlimmableNetwork",
    "TableRule",
    "agent_rule",
    "fit_levels",
    "level_power",
    "make_levels",
    "measure_levels",
    "recalibrate",
]
