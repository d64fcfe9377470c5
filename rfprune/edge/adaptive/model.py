"""The network as it runs: each batch gets the level that input and power budget ask for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from rfprune.edge.adaptive.policy import LevelPolicy
from rfprune.edge.adaptive.slimmable import SlimmableNetwork
from rfprune.edge.monitor import input_statistics
from rfprune.models.spec import ModelSpec

__all__ = ["AdaptiveModel", "Decision"]

#: Batches that are remembered.
HISTORY = 10_000
#: Images of a batch whose statistics are taken; a decision takes longer with more of them.
SAMPLE = 8


@dataclass(frozen=True)
class Decision:
    """What was decided for one batch.

    Attributes:
        level: that computed it.
        power_mw: of this level.
        power_budget_mw: at that time; None = no limit.
    """

    level: int
    power_mw: float
    power_budget_mw: float | None


class AdaptiveModel(nn.Module):
    """A network that prunes itself to fit its input and its power budget.

    Example::

        from pathlib import Path

        from rfprune.edge.adaptive import AdaptiveModel
        from rfprune.models import ModelSpec

        model = AdaptiveModel.load(Path("adaptive"))
        model.power_budget_share = 0.9  # of the unpruned network's power; or in mW:
        model.power_budget_mw = 1.1 * model.power_budget_mw
        batch = torch.from_numpy(images[:16])  # (16, 1, 8, 8)
        with torch.inference_mode():
            scores = model(batch)  # (16, classes); as model.forward(batch)
        model.level, model.history[-1], model.decide(batch)
        with model.pinned(0):
            dense = model(batch)
        model.save(Path("other.pt"), ModelSpec(name="edge_cnn", args={"channels": [4, 8]}))

    Attributes:
        network: the levels.
        policy: picks one of them per batch.
        power_budget_mw: in mW, may be changed at any time; None = no limit.
        history: the last decisions, oldest first.
    """

    def __init__(
        self, network: SlimmableNetwork, policy: LevelPolicy, power_budget_mw: float | None = None
    ) -> None:
        """Put network and policy together, in evaluation mode."""
        super().__init__()
        self.network = network
        self.policy = policy
        self.power_budget_mw = power_budget_mw
        self.history: deque[Decision] = deque(maxlen=HISTORY)
        self._pinned: int | None = None
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, classes) logits of rows `x` (B, ...), from the level that the policy picks.

        Raises:
            DataError: as of `decide`.
        """
        level = self.decide(x) if self._pinned is None else self._pinned
        power_mw = float(self.policy.rule.power_mw[level])
        self.history.append(Decision(level, power_mw, self.power_budget_mw))
        logits: Tensor = self.network(x, level)
        return logits

    def decide(self, x: Tensor) -> int:
        """Return the level for a batch, which counts as the next one for the hysteresis.

        Args:
            x: (B, ...) rows; statistics are those of 8 to 15 of them, evenly spaced.

        Raises:
            DataError: an empty batch, or rows of another kind than the policy's table knows.
        """
        # Evenly spaced, because neighbours in a stream are alike.
        sample = x[:: max(1, len(x) // SAMPLE)]
        return self.policy.choose(input_statistics(sample).mean, self.power_budget_mw)

    @contextmanager
    def pinned(self, level: int) -> Iterator[AdaptiveModel]:
        """While open, every batch is computed at one level.

        Raises:
            SpecError: no such level.
        """
        self.network.at(level)
        before, self._pinned = self._pinned, level
        try:
            yield self
        finally:
            self._pinned = before

    @property
    def level(self) -> int | None:
        """The level of the last batch, None before the first."""
        return self.history[-1].level if self.history else None

    @property
    def power_budget_share(self) -> float | None:
        """The budget as a share of the unpruned network's power; may be set instead of mW."""
        if self.power_budget_mw is None:
            return None
        return self.power_budget_mw / float(self.policy.rule.power_mw[0])

    @power_budget_share.setter
    def power_budget_share(self, share: float | None) -> None:
        dense_mw = float(self.policy.rule.power_mw[0])
        self.power_budget_mw = None if share is None else share * dense_mw

    def save(self, path: Path, spec: ModelSpec, kept: Mapping[str, int] | None = None) -> None:
        """Write network, levels, policy and budget as one file.

        Args:
            path: the .pt file; it is replaced if it exists.
            spec: what the network was built from.
            kept: kernels that were left of it, by layer, before it got levels; None = all.

        Raises:
            SpecError: the policy follows a rule of your own.
        """
        # `saving` knows this class, so it is imported only when it is needed.
        from rfprune.edge.adaptive.saving import save

        save(path, self, spec, kept)

    @classmethod
    def load(
        cls, path: Path, spec: ModelSpec | None = None, base_dir: Path | None = None
    ) -> AdaptiveModel:
        """Read what `save` wrote: as `load_adaptive` with `path`, `spec` and `base_dir`."""
        from rfprune.edge.adaptive.saving import load_adaptive

        return load_adaptive(path, spec, base_dir)
