"""The tasks that a file can name: what each may be scored by. Listing them does not load torch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HEADS", "TASKS", "TaskFacts"]


@dataclass(frozen=True)
class TaskFacts:
    """One kind of task.

    Attributes:
        task: ``module:attribute`` of the `rfprune.tasks.task.Task`.
        summary: one line.
        losses: names in `rfprune.tasks.losses.LOSSES`, the default first.
        metrics: names in `rfprune.tasks.metrics.METRICS`, the default ones first.
        n_default: how many of `metrics` are measured if the file names none.
        keys: further keys of the section that it takes.
    """

    task: str
    summary: str
    losses: tuple[str, ...]
    metrics: tuple[str, ...]
    n_default: int = 1
    keys: tuple[str, ...] = ()


TASKS: dict[str, TaskFacts] = {
    "classification": TaskFacts(
        "rfprune.tasks.classification:Classification",
        "one of several classes per row; the network puts out a logit per class",
        losses=("cross_entropy",),
        metrics=("accuracy", "balanced_accuracy", "top_k", "auc", "log_loss"),
        keys=("class_weights", "label_smoothing"),
    ),
    "binary": TaskFacts(
        "rfprune.tasks.binary:Binary",
        "yes or no; the network puts out one logit, or a probability behind a sigmoid",
        losses=("bce",),
        metrics=("accuracy", "auc", "balanced_accuracy", "tpr", "log_loss"),
        n_default=2,
        keys=("class_weights", "label_smoothing"),
    ),
    "multilabel": TaskFacts(
        "rfprune.tasks.multilabel:Multilabel",
        "several yes-or-no labels per row; the network puts out a logit, or a probability, per "
        "label",
        losses=("bce",),
        metrics=("auc", "accuracy", "balanced_accuracy", "tpr", "log_loss"),
        n_default=2,
        keys=("class_weights", "label_smoothing"),
    ),
    "regression": TaskFacts(
        "rfprune.tasks.regression:Regression",
        "one or several numbers per row",
        losses=("mse", "mae", "huber"),
        metrics=("rmse", "mae", "r2", "resolution", "bias"),
        n_default=3,
    ),
    "anomaly": TaskFacts(
        "rfprune.tasks.anomaly:Anomaly",
        "how unusual a row is; trained on rows of label 0, or without labels: the network puts out "
        "its own score, or its input again",
        losses=("output", "reconstruction"),
        metrics=("auc", "tpr"),
    ),
}

#: Several outputs, each with a task of its own; named by the key ``heads``, not by name.
HEADS = TaskFacts(
    "rfprune.tasks.heads:Heads", "several heads, each with a task of its own", losses=(), metrics=()
)
