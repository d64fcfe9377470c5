"""The pruning agent: a deep Q-network that decides layer by layer how much to prune.

Knows an `AgentTask` (layers, levels, a measurement), a reward and a policy; it knows no network and
no FPGA. Learning needs torch, which is imported where it is used; a policy that was learned runs on
numpy alone.
"""

from rfprune.methods.agent_task import AgentMeasurement, AgentTask, check_task
from rfprune.methods.akperl.episode_log import EpisodeRecord, read_episodes
from rfprune.methods.akperl.learn import learn
from rfprune.methods.akperl.measured import MeasuredTask
from rfprune.methods.akperl.policy import Policy
from rfprune.methods.akperl.reward import Reward, make_reward

__all__ = [
    "AgentMeasurement",
    "AgentTask",
    "EpisodeRecord",
    "MeasuredTask",
    "Policy",
    "Reward",
    "check_task",
    "learn",
    "make_reward",
    "read_episodes",
]
