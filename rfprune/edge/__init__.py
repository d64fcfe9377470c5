"""Kernels of a CNN pruned for an edge device: what they cost there, the agent's task, the session.

Brings kernels, monitor and methods together for the pruning loop. Knows no files but the agent's
own, and no FPGA.
"""

from rfprune.edge.costs import EdgeCosts
from rfprune.edge.session import KernelSession
from rfprune.edge.task import KernelTask

__all__ = ["EdgeCosts", "KernelSession", "KernelTask"]
