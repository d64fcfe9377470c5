"""What is written down while an agent learns: one line per episode."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rfprune.core.json_lines import read_records, write_records

__all__ = ["EpisodeRecord", "GreedyRecord", "read_episodes", "write_episodes"]


class LogLine(BaseModel):
    """Written by one version and read by a later one: unknown keys are kept out, not refused."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class GreedyRecord(LogLine):
    """What the greedy policy achieves, as means over the conditions.

    Attributes:
        reward: sum over the layers.
        accuracy: of the pruned network on the validation rows.
        power: of the pruned network, as a share of the dense network's.
        best: whether no earlier policy was better; it becomes the result.
    """

    reward: float
    accuracy: float
    power: float
    best: bool


class EpisodeRecord(LogLine):
    """One episode.

    Attributes:
        episode: from 1 on.
        condition: of the input.
        levels: fraction pruned of each layer.
        reward: sum over the layers.
        accuracy: of the pruned network on the validation rows.
        power: of the pruned network, as a share of the dense network's.
        exploration_rate: share of random decisions.
        mean_max_q: mean over fixed states of the largest Q-value, in units of the spread of
            the rewards; None before learning begins.
        td_loss: mean loss of the temporal difference, None before learning begins.
        measurements: distinct measurements so far.
        weights: those that a target has led to so far.
        greedy: the greedy policy, in the episodes in which it is tried.
    """

    episode: int
    condition: int
    levels: list[float]
    reward: float
    accuracy: float
    power: float
    exploration_rate: float
    mean_max_q: float | None
    td_loss: float | None
    measurements: int
    weights: dict[str, float] = {}
    greedy: GreedyRecord | None = None


def read_episodes(folder: Path) -> list[EpisodeRecord]:
    """Return the episodes so far; a last line that a crash cut off is left out.

    Raises:
        RunsError: the file is damaged.
    """
    return read_records(folder / "episodes.jsonl", EpisodeRecord)


def write_episodes(folder: Path, records: list[EpisodeRecord]) -> None:
    """Replace the episodes, when a learning goes back to its last checkpoint."""
    write_records(folder / "episodes.jsonl", records)
