"""Which measurement before fine-tuning says what a smaller network becomes."""

from typing import Any

import numpy as np
from scipy import stats

from benchmarks.agent.game import Game, cpu
from rfprune.core.arrays import FloatArray

REWARDS = (
    "accuracy of the dense network's kernels",
    "probability (as shipped)",
    "shared network, accuracy",
    "shared network, probability",
    "linear in the kernels kept",
    "accuracy after one epoch",
)


def correlations(game: Game, masks: int) -> dict[str, Any]:
    """Return, by reward, rank correlation with the truth, its interval, CPU seconds per network."""
    networks = game.drawn(masks)
    truth, seconds = cpu(lambda: [game.truth(keep) for keep in networks])
    told: dict[str, tuple[list[float], float]] = {}
    dense = game.dense_task
    shared, training = game.shared
    tasks = {REWARDS[1]: dense, REWARDS[2]: shared}
    for name, by, task in (
        (REWARDS[0], "accuracy", dense),
        (REWARDS[1], "probability", dense),
        (REWARDS[2], "accuracy", shared),
        (REWARDS[3], "probability", shared),
    ):
        asked = tasks[name] if name in tasks else _by(task, by)
        told[name] = cpu(lambda asked=asked: [asked.worth(keep) for keep in networks])
    kept = np.array([game.count(keep) for keep in networks], dtype=float)
    told[REWARDS[4]] = (linear(kept / game.own.prunable.counts, np.array(truth)).tolist(), seconds)
    told[REWARDS[5]] = cpu(lambda: [game.tuned(keep, 1) for keep in networks])
    return {
        "truth": truth,
        "truth_seconds": seconds / masks,
        "shared_training_seconds": training,
        "rewards": {
            name: {
                "values": values,
                "correlation": rank_correlation(values, truth),
                "interval": interval(values, truth, game.seed),
                "seconds": taken / masks,
            }
            for name, (values, taken) in told.items()
        },
    }


def _by(task: Any, by: str) -> Any:
    """Return the same game with another measure; nothing else of it is kept."""
    other = task.within(task.share())
    other._scene = type(task._scene)(**{**vars(task._scene), "by": by})
    return other


def rank_correlation(a: Any, b: Any) -> float:
    """Return Spearman's correlation; 0 where one of them does not vary."""
    varies = np.ptp(a) > 0 and np.ptp(b) > 0
    return float(stats.spearmanr(a, b).statistic) if varies else 0.0


def interval(a: Any, b: Any, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the rank correlation, by drawing networks anew (bootstrap)."""
    rng, a, b = np.random.default_rng(seed), np.asarray(a), np.asarray(b)
    drawn = rng.integers(len(a), size=(1000, len(a)))
    low, high = np.quantile([rank_correlation(a[i], b[i]) for i in drawn], [0.025, 0.975])
    return float(low), float(high)


def linear(kept: FloatArray, truth: FloatArray, ridge: float = 0.1) -> FloatArray:
    """Return what ridge regression on the other networks says of each (leave one out)."""
    x = (kept - kept.mean(axis=0)) / np.maximum(kept.std(axis=0), 1e-9)
    gram = x.T @ x + ridge * len(x) * np.eye(x.shape[1])
    hat = x @ np.linalg.solve(gram, x.T)
    centred = truth - truth.mean()
    left_out = np.diag(hat) + 1 / len(x)
    return np.asarray(truth - (centred - hat @ centred) / (1 - left_out))
