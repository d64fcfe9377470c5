"""The network as hls4ml sees it: layers, their weights' HLS order, and the hardware each one gets.

Knows nothing of pruning, training or hls4ml's own objects.
"""

from rfprune.network.fold import fold_batch_norm
from rfprune.network.kinds import WEIGHT_KINDS, WeightKind
from rfprune.network.plan import LayerPlan, Plan, plan
from rfprune.network.trace import Network, Operation, WeightLayer, trace

__all__ = [
    "WEIGHT_KINDS",
    "LayerPlan",
    "Network",
    "Operation",
    "Plan",
    "WeightKind",
    "WeightLayer",
    "fold_batch_norm",
    "plan",
    "trace",
]
