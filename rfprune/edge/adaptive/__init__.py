"""One network, several levels of pruning: fitted together, chosen per batch at run time.

`SlimmableNetwork` holds one set of weights and A nested levels; `fit_levels` trains them together;
`AdaptiveModel` picks a level for every batch from input statistics and a power budget, by a table
of measurements (`TableRule`) or a learned policy (`AgentRule`), and is saved as one file.

Running one needs torch alone: no package of the extra ``edge``, nothing that knows how an agent
learns. What makes one from a finished trial is `rfprune.edge.adaptive.adapting`.
"""

from __future__ import annotations

from rfprune.edge.adaptive.fitting import fit_levels, recalibrate
from rfprune.edge.adaptive.level_table import LevelTable, LevelTask, measure_levels
from rfprune.edge.adaptive.levels import Levels, make_levels
from rfprune.edge.adaptive.model import AdaptiveModel, Decision
from rfprune.edge.adaptive.policy import AgentRule, LevelPolicy, Rule, TableRule, agent_rule
from rfprune.edge.adaptive.saving import load_adaptive
from rfprune.edge.adaptive.slimmable import SlimmableNetwork

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
    "load_adaptive",
    "make_levels",
    "measure_levels",
    "recalibrate",
]
