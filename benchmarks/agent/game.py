"""A network that is to be pruned, what rewards say of its smaller ones, and what they become."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.report import read_cases
from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.edge.budgets import BudgetedTask
from rfprune.edge.kernels import Masks, shrink
from rfprune.edge.task import KernelTask
from rfprune.methods import Problem
from rfprune.methods.agent_task import random_levels
from rfprune.methods.coupled import select_coupled
from rfprune.methods.named_methods import KNAPSACK, L1, MAGNITUDE, UNIFORM
from rfprune.pruning import Session
from rfprune.pruning.scores import score_groups
from rfprune.spec import TrialSpec
from rfprune.training import Fit, evaluate, fit
from rfprune.trial import prepare
from rfprune.trial.dense import dense_network

CASES = read_cases("agent")
#: As `sweeps/akperl_small.yml` has them.
_EDGE = {
    "agent_rows": 256,
    "agent_measure": "probability",
    "settling_rows": 256,
    "levels": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
}
#: Torch-Pruning's ranking of kernels, which is asked where that package is installed.
GROUP_NORM = "Torch-Pruning's group norm"
_PRUNE = {"method": "akperl", "steps": 1, "tolerance": 1.0, "learning_rate": 1e-3}


def cpu(call: Any, *arguments: Any) -> tuple[Any, float]:
    """Return what a call returns and the CPU seconds that it takes."""
    begun = time.process_time()
    return call(*arguments), time.process_time() - begun


@dataclass
class Game:
    """One case with one seed: the dense network, and the agent's problem on it.

    Attributes:
        name: of the case.
        seed: of the dense network and of everything after it.
    """

    name: str
    seed: int
    truths: dict[tuple[int, ...], float] = field(default_factory=dict)
    worths: dict[tuple[int, ...], float] = field(default_factory=dict)

    def spec(self, **edge: Any) -> TrialSpec:
        """Return the trial, with other settings of the section `edge`."""
        case = CASES[self.name]
        prune = {**_PRUNE, "budget": {"energy_mj": case["budget"]}, "score": "taylor"}
        values = {**case["trial"], "edge": {**_EDGE, **edge}, "prune": prune, "seed": self.seed}
        return TrialSpec.model_validate(values)

    def session(self, **edge: Any) -> Session:
        """Return a pruning run at its start; the dense network is trained once."""
        prepared = prepare(self.spec(**edge), Path())
        home = Path(self._home.name)
        dense = dense_network(prepared.spec, prepared.data, prepared.task, home, Path())
        return prepared.session(dense, prepared.data)

    @cached_property
    def _home(self) -> TemporaryDirectory[str]:
        """Folder of the dense networks, for as long as the game lives."""
        return TemporaryDirectory(prefix="rfprune-")

    @cached_property
    def own(self) -> Session:
        """The run on the dense network, which every other one begins with."""
        return self.session()

    @cached_property
    def problem(self) -> Problem:
        """The problem with the reward of the dense network."""
        return self.own.problem(1, 1.0)

    @cached_property
    def shared(self) -> tuple[KernelTask, float]:
        """The game on the shared network, and the CPU seconds that its training took."""
        return self.shared_for([])

    def shared_for(self, budgets: Sequence[float]) -> tuple[KernelTask, float]:
        """Return the same on a network that is shared by further budgets."""
        edge = {"agent_network": "shared", "agent_measure": "accuracy"}
        session = self.session(**edge, agent_budgets=list(budgets))
        problem, seconds = cpu(session.problem, 1, 1.0)
        task = problem.task
        if isinstance(task, BudgetedTask):
            task = task.own
        assert isinstance(task, KernelTask)
        return task, seconds

    @property
    def dense_task(self) -> KernelTask:
        """The game on the dense network."""
        assert isinstance(self.problem.task, KernelTask)
        return self.problem.task

    def count(self, keep: BoolArray) -> tuple[int, ...]:
        """Return the kernels that each layer keeps, which name a network."""
        layers = len(self.problem.floor)
        return tuple(np.bincount(self.problem.layer[keep], minlength=layers).tolist())

    def drawn(self, n: int) -> list[BoolArray]:
        """Return n different networks of random levels within the budget."""
        task, rng = self.dense_task, np.random.default_rng([self.seed, 7])
        found: dict[tuple[int, ...], BoolArray] = {}
        while len(found) < n:
            keep = task.keep(random_levels(task.allowed, rng))
            found.setdefault(self.count(keep), keep)
        return list(found.values())

    def tuned(self, keep: BoolArray, epochs: int, seed: int = 0) -> float:
        """Return the accuracy on test rows after fine-tuning."""
        session, data = self.own, self.own.data
        prunable: Any = session.prunable
        masks = Masks(prunable.kernels, prunable.masks(keep))
        smaller = shrink(session.dense, masks)
        train = session.spec.train.model_copy(update={"learning_rate_schedule": "cosine"})
        how = Fit(epochs, 1e-3, train, 1000 * self.seed + seed, task=session.task)
        fit(smaller, data.x_train, data.y_train, how)
        return float(evaluate(smaller, data.x_test, data.y_test, session.task))

    def truth(self, keep: BoolArray, repeats: int = 1) -> float:
        """Return the mean accuracy on test rows after all epochs of fine-tuning."""
        key = (repeats, *self.count(keep), hash(keep.tobytes()))
        if key not in self.truths:
            epochs = CASES[self.name]["truth_epochs"]
            self.truths[key] = float(np.mean([self.tuned(keep, epochs, s) for s in range(repeats)]))
        return self.truths[key]

    def worth(self, keep: BoolArray) -> float:
        """Return what the shared network says, measured once per network."""
        key = (*self.count(keep), hash(keep.tobytes()))
        if key not in self.worths:
            self.worths[key] = self.shared[0].worth(keep)
        return self.worths[key]

    def references(self) -> dict[str, BoolArray]:
        """Return what methods without a search keep: each by the score that its trials use."""
        problem, found = self.problem, {}
        assert problem.costs_at is not None
        for name, method in (
            ("uniform", UNIFORM),
            ("knapsack", KNAPSACK),
            ("magnitude", MAGNITUDE),
            ("l1", L1),
        ):
            value = problem.value
            if method.kernel_score is not None:
                value = self._scored(method.kernel_score)
            asked = Problem(**{**vars(problem), "value": value, "rng": np.random.default_rng(0)})
            found[name] = select_coupled(method, asked, problem.costs_at).keep
        x = self.own.data.x_train[:1]
        value = group_norms(self.own.dense, self.dense_task.layers, x)
        if value is not None:
            asked = Problem(**{**vars(problem), "value": value, "rng": np.random.default_rng(0)})
            found[GROUP_NORM] = select_coupled(MAGNITUDE, asked, problem.costs_at).keep
        return found

    def _scored(self, score: str) -> FloatArray:
        # One threshold on plain norms would take the first layer, whose kernels are small.
        session = self.own
        batches, rng = session.score_batches(), np.random.default_rng(0)
        return score_groups(
            session.dense, session.prunable, score, "layer_mean", batches, rng, task=session.task
        )


def group_norms(network: nn.Module, layers: Sequence[str], x: Tensor) -> FloatArray | None:
    """Return (G,) Torch-Pruning's group L2 norms; None where it is not installed.

    They take in the readers' weights and the norms' scales, each layer divided by its mean, as its
    own pruners rank all layers together (Fang et al., CVPR 2023, arXiv 2301.12900).

    Args:
        network: that is left alone.
        layers: whose output channels are ranked, layer after layer.
        x: (1, ...) a row.
    """
    try:
        import torch_pruning as library
    except ImportError:
        return None
    model = copy.deepcopy(network)
    graph = library.DependencyGraph().build_dependency(model, example_inputs=x)
    importance = library.importance.GroupMagnitudeImportance(p=2)
    values = []
    for layer in layers:
        conv: Any = model.get_submodule(layer)
        every = list(range(conv.out_channels))
        group = graph.get_pruning_group(conv, library.prune_conv_out_channels, every)
        values.append(importance(group).detach().numpy())
    return np.concatenate(values).astype(float)


def levels_of(task: KernelTask) -> list[IntArray]:
    """Return every decision that the game allows."""
    grid = np.meshgrid(*(np.flatnonzero(row) for row in task.allowed), indexing="ij")
    return list(np.stack([axis.ravel() for axis in grid], axis=1))


def one_thread() -> None:
    """Let CPU seconds be those of one thread."""
    torch.set_num_threads(1)
