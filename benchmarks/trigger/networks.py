"""Networks as they run in a Level-1 trigger, by their published shapes.

Sizes: firmware of the organisation cms-hls4ml (TOPO HHbbWW, L1TSC4NGJet, EMTF_NN, CICADA v2.2). The
autoencoder has the inputs of AXOL1TL v6, and is scored on them: features that are trained with it,
as there, would agree with it on nothing at all.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["calorimeter", "events", "jets", "muons", "score"]


def _dense(*sizes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return layers[:-1]


def events() -> nn.Module:
    """Variables of an event -> a logit."""
    return nn.Sequential(*_dense(20, 64, 32, 32, 1))


class _Jets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(20)
        self.first, self.second = nn.Conv1d(20, 10, 1), nn.Conv1d(10, 10, 1)
        self.kind = nn.Sequential(*_dense(10, 32, 16, 8))
        self.momentum = nn.Sequential(*_dense(10, 10, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = torch.relu(self.second(torch.relu(self.first(self.scale(x)))))
        h = h.mean(dim=-1)
        return {"label": self.kind(h), "pt": self.momentum(h)}


def jets() -> nn.Module:
    """Sixteen particles of a jet -> its kind, and a correction of its momentum."""
    return _Jets()


def muons() -> nn.Module:
    """Variables of a track -> momentum and displacement."""
    return nn.Sequential(nn.BatchNorm1d(29), *_dense(29, 20, 16, 2))


def calorimeter() -> nn.Module:
    """Energies of towers -> how unusual an event is, as a large network has learnt it."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 2, stride=2), nn.ReLU(), nn.Flatten(), *_dense(252, 16, 1), nn.ReLU()
    )


class _Score(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.coder = nn.Sequential(*_dense(57, 29, 10, 4), *_dense(4, 10, 29, 57))

    def forward(self, x: Tensor) -> Tensor:
        missed = self.coder(x) - x
        return torch.sum(missed**2, dim=1, keepdim=True)


def score() -> nn.Module:
    """Objects of an event -> how badly an autoencoder knows them."""
    return _Score()
