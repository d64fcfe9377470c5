"""One set of weights that computes at several levels of pruning: a slimmable network.

After J. Yu et al., *Slimmable Neural Networks* (arXiv 1812.08928): the levels share the weights of
convolutions and dense layers, and each has batch norms of its own, because the mean and variance of
a feature map depend on how many kernels were summed into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rfprune.edge.adaptive.levels import Levels
from rfprune.edge.kernels import kept_indices, kept_part, shrink
from rfprune.errors import SpecError
from rfprune.training import norms_of

__all__ = ["SlimmableNetwork"]

_Slices = dict[str, tuple[Tensor, ...]]


class SlimmableNetwork(nn.Module):
    """A network and its smaller selves.

    In training mode a level computes with slices of the shared weights, so that gradients of all
    levels reach them. In evaluation mode it is a network of its own whose tensors are copies of
    the slices: nothing is cut per batch. `eval` brings the copies up to date.

    Attributes:
        levels: (A,) what each level keeps.
        network: level 0, which owns the shared weights.
        sliced: levels 1 to A - 1; only their norms are parameters of their own.
    """

    def __init__(self, network: nn.Module, levels: Levels) -> None:
        """Build the levels; all begin with the norms of `network`.

        Args:
            network: the network of ``levels.kernels``; it is used, not copied.
            levels: what each level keeps.
        """
        super().__init__()
        self.levels = levels
        self.network = network
        self.sliced = nn.ModuleList(shrink(network, masks) for masks in levels.masks[1:])
        self._slices = [
            _shared_slices(smaller, kept_indices(masks))
            for smaller, masks in zip(self.sliced, levels.masks[1:], strict=True)
        ]
        for smaller, slices in zip(self.sliced, self._slices, strict=True):
            # They are copies of the shared weights: an optimizer would train them apart from these.
            for name in slices:
                smaller.get_parameter(name).requires_grad_(False)
        self.train(network.training)

    def forward(self, x: Tensor, level: int = 0) -> Tensor:
        """Return (B, classes) logits of one level."""
        if level == 0 or not self.training:
            logits: Tensor = self.at(level)(x)
            return logits
        # Slices in place of the level's copies, so that gradients reach the shared weights.
        weights = dict(self._weights(level))
        return functional_call(self.at(level), weights, (x,))  # type: ignore[no-any-return]

    def at(self, level: int) -> nn.Module:
        """Return the network that computes a level in evaluation mode.

        Raises:
            SpecError: no such level.
        """
        if not 0 <= level < len(self.levels):
            raise SpecError(f"level: {level}. Allowed: 0 to {len(self.levels) - 1}.")
        return self.sliced[level - 1] if level else self.network

    def train(self, mode: bool = True) -> SlimmableNetwork:
        """Set the mode; leaving training mode brings the slices up to date."""
        if self.training and not mode:
            self.refresh()
        super().train(mode)
        return self

    def refresh(self) -> None:
        """Copy the shared weights into the levels, after they were changed from outside."""
        with torch.no_grad():
            for level in range(1, len(self.levels)):
                smaller = self.at(level)
                for name, weight in self._weights(level):
                    smaller.get_parameter(name).copy_(weight)

    @property
    def memory_bytes(self) -> tuple[int, ...]:
        """(A,) bytes of the tensors of each level in evaluation mode."""
        return tuple(
            sum(tensor.nbytes for tensor in self.at(level).state_dict().values())
            for level in range(len(self.levels))
        )

    def _weights(self, level: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the slices of the shared weights that a level computes with."""
        for name, indices in self._slices[level - 1].items():
            yield name, kept_part(self.network.get_parameter(name), indices)


def _shared_slices(smaller: nn.Module, kept: Mapping[str, tuple[Tensor, ...]]) -> _Slices:
    """Return the slice of every parameter that is not a norm's; whole ones have no indices."""
    norms = tuple(f"{path}." for path in norms_of(smaller))
    return {
        name: tuple(index.to(parameter.device) for index in kept.get(name, ()))
        for name, parameter in smaller.named_parameters()
        if not name.startswith(norms)
    }
