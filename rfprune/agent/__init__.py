"""The pruning agent: a deep Q-network that decides layer by layer how much to prune.

Knows a `Task` (layers, levels, a measurement), a reward and a policy; it knows no network and no
FPGA. A policy that was learned runs on numpy alone; learning needs the extra `edge`
(Stable-Baselines3 and Gymnasium), which is imported where it is used.
"""

from rfprune.agent.learn import learn
from rfprune.agent.measured import Measured
from rfprune.agent.policy import Policy
from rfprune.agent.record import EpisodeRecord, read_episodes
from rfprune.agent.reward import Reward, make_reward
from rfprune.agent.task import Outcome, Task, check_task

__all__ = [
    "EpisodeRecord",
    "Measured",
    "Outcome",
    "Policy",
    "Reward",
    "Task",
    "check_task",
    "learn",
    "make_reward",
    "read_episodes",
]
