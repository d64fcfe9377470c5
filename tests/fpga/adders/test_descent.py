"""The search at the end of a rung: losses that fall, digits that stay, the same network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfprune.fpga.adders.chain import Chain, chain_of
from rfprune.fpga.adders.descent import Descent
from rfprune.fpga.adders.digits import digit_counts
from rfprune.fpga.adders.numbers import CircuitNumbers, calibrate, constants, forward
from rfprune.fpga.layers import trace


class Heads(nn.Module):
    """Two heads on one trunk, one of them without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.deep = nn.Linear(5, 8), nn.Linear(8, 6)
        self.one, self.two = nn.Linear(6, 3), nn.Linear(8, 2, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.relu(self.trunk(x))
        return self.one(torch.relu(self.deep(x))), self.two(x)


def made(seed: int) -> tuple[Chain, nn.Module, CircuitNumbers, torch.Tensor]:
    """Return a network with few digits at random, calibrated on rows."""
    torch.manual_seed(seed)
    model = Heads()
    chain = chain_of(trace(model, (5,)))
    numbers = CircuitNumbers.widest(chain, 3, 7)
    for index, layer in enumerate(chain.layers):
        numbers.digits[index] = torch.randint(0, 3, (layer.n_out, layer.n_in))
        numbers.fraction[index] = torch.randint(0, 5, (layer.n_in,))
    # A neuron of the trunk that nobody reads.
    for reader in chain.readers(0):
        numbers.digits[reader][:, 2] = 0
    x = torch.randn(300, 5)
    calibrate(chain, model, numbers, x)
    return chain, model, numbers, x


def digits(chain: Chain, model: nn.Module, numbers: CircuitNumbers) -> list[Any]:
    return [digit_counts(weight).tolist() for _, weight, _ in constants(chain, model, numbers)]


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_falls_digits_stay_and_what_was_computed_is_the_network(seed: int) -> None:
    chain, model, numbers, x = made(seed)
    y = torch.randn(300, 3), torch.randn(300, 2)

    def loss(outputs: Any) -> torch.Tensor:
        return sum(((a - b) ** 2).mean() for a, b in zip(outputs, y, strict=True))

    def whole() -> float:
        with torch.no_grad():
            return float(loss(forward(chain, model, numbers, x, wraps=False)))

    before, counted = whole(), digits(chain, model, numbers)
    unread = model.get_submodule("trunk").weight[2].clone()
    reached = Descent(chain, model, numbers).run(x, loss)
    assert reached < before
    assert whole() == pytest.approx(reached, rel=1e-6)
    assert digits(chain, model, numbers) == counted
    assert torch.equal(model.get_submodule("trunk").weight[2], unread)
    assert Descent(chain, model, numbers).run(x, loss) <= reached


def test_what_is_searched_are_the_weights_that_somebody_reads() -> None:
    chain, model, numbers, _ = made(0)
    dead = digits(chain, model, numbers)
    read = sum(sum(map(bool, row)) for layer in dead for row in layer) - sum(map(bool, dead[0][2]))
    found = Descent(chain, model, numbers).weights
    alive = (torch.tensor(dead[chain.readers(1)[0]]) > 0).any(dim=0)
    gone = sum(sum(map(bool, row)) for row, lives in zip(dead[1], alive, strict=True) if not lives)
    assert found == read - gone
