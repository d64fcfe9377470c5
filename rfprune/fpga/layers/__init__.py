"""The network as hls4ml sees it: layers, their weights' HLS order, and the hardware each one gets.

Knows nothing of pruning, training or hls4ml's own objects.
"""

from rfprune.fpga.layers.fold import fold_batch_norm
from rfprune.fpga.layers.layout import Layout, Placed, Read
from rfprune.fpga.layers.lowering import lower
from rfprune.fpga.layers.plan import UNROLLED, LayerPlan, Plan, plan
from rfprune.fpga.layers.trace import Network, Operation, WeightLayer, trace
from rfprune.fpga.layers.weight_kinds import WEIGHT_KINDS, WeightKind

__all__ = [
    "UNROLLED",
    "WEIGHT_KINDS",
    "LayerPlan",
    "Layout",
    "Network",
    "Operation",
    "Placed",
    "Plan",
    "Read",
    "WeightKind",
    "WeightLayer",
    "fold_batch_norm",
    "lower",
    "plan",
    "trace",
]
