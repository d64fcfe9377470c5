"""Learning a policy: episodes, greedy trials, records, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rfprune.core.arrays import IntArray
from rfprune.methods.agent_task import AgentTask, check_task
from rfprune.methods.akperl.episode_log import EpisodeRecord
from rfprune.methods.akperl.measured import MeasuredTask
from rfprune.methods.akperl.policy import Policy
from rfprune.spec.agent import AgentSpec

__all__ = ["OnEpisode", "learn"]

OnEpisode = Callable[[EpisodeRecord], None]


def learn(
    task: AgentTask,
    spec: AgentSpec,
    seed: int,
    folder: Path | None = None,
    on_episode: OnEpisode | None = None,
    demonstrations: Sequence[IntArray] = (),
) -> Policy:
    """Return the best greedy policy of a deep Q-network that decides `task`.

    The greedy policy is tried every `spec.evaluate_every` episodes under every condition; the one
    with the largest reward is the result, with a target the one that breaks it least and then has
    the best objective. All random numbers depend on the seed and the episode alone, so a learning
    that was killed ends with the same policy as one that was not.

    Args:
        task: layers, levels and measurement.
        spec: settings and reward.
        seed: of weights, exploration, replay and conditions.
        folder: for ``agent.pt`` (checkpoint), ``measurements.jsonl``, ``episodes.jsonl`` and
            ``policy.pt``; a learning that was cut off there is resumed. None = nothing is written.
        on_episode: called with each record, as it happens.
        demonstrations: decisions (L,) of others, which the agent begins with: they are remembered
            and compared as its own are (deep Q-learning from demonstrations: Hester et al. 2018,
            arXiv 1704.03732, of which this is the replay alone).

    Raises:
        NetworkError: the task has no layer to prune.
        SpecError: coefficients of a wrong length.
        RunsError: the folder holds a damaged checkpoint, or one of something else.
        TrialError: a measurement that is not finite.
    """
    check_task(task)
    # Imported here: learning needs torch, running what was learned does not.
    from rfprune.methods.akperl.learner import Learner

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    memory = None if folder is None else folder / "measurements.jsonl"
    learner = Learner(MeasuredTask(task, memory), spec, seed, folder, on_episode, demonstrations)
    policy = learner.run()
    if folder is not None:
        policy.save(folder / "policy.pt")
    return policy
