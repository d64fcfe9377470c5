"""Learning a policy: episodes, greedy trials, records, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rfprune.agent.measured import Measured
from rfprune.agent.policy import Policy
from rfprune.agent.record import EpisodeRecord
from rfprune.agent.task import Task, check_task
from rfprune.errors import MissingExtraError
from rfprune.spec.agent import AgentSpec

__all__ = ["OnEpisode", "learn"]

OnEpisode = Callable[[EpisodeRecord], None]


def learn(
    task: Task,
    spec: AgentSpec,
    seed: int,
    folder: Path | None = None,
    on_episode: OnEpisode | None = None,
) -> Policy:
    """Return the best greedy policy of a deep Q-network that plays `task`.

    The greedy policy is tried every `spec.evaluate_every` episodes under every condition; the one
    with the largest reward is the result, with a target the one that breaks it least and then has
    the best objective. All random numbers depend on the seed and the episode alone, so a learning
    that was killed ends with the same policy as one that was not.

    Args:
        task: layers, levels and measurement.
        spec: settings and reward.
        seed: of weights, exploration, replay and conditions.
        folder: for ``agent.pt`` (checkpoint), ``measurements.jsonl``, ``episodes.jsonl`` and
            ``policy.pt``; a learning that stands there goes on. None = nothing is written.
        on_episode: called with each record, as it happens.

    Raises:
        MissingExtraError: the packages of the extra ``edge`` are not installed.
        NetworkError: the task has no layer to prune.
        SpecError: coefficients of a wrong length.
        RunsError: the folder holds a damaged checkpoint, or one of something else.
        TrialError: a measurement that is not finite.
    """
    check_task(task)
    try:
        from rfprune.agent.learner import Learner
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"learning an agent needs the package '{error.name}': pip install 'rfprune[edge]'."
        ) from error
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    memory = None if folder is None else folder / "measurements.jsonl"
    learner = Learner(Measured(task, memory), spec, seed, folder, on_episode)
    policy = learner.run()
    if folder is not None:
        policy.save(folder / "policy.pt")
    return policy
