"""Networks as their users write them: taken, or refused by ``check`` in one sentence."""

from __future__ import annotations

import pytest

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.a, self.fc, self.wide = nn.Linear(8, 8), nn.Linear(8, n), nn.Linear(16, n)
    def forward(self, x):
        return self.fc(torch.relu(self.a(x)))

class Constant(Net):
    def forward(self, x): return self.fc(2 - F.relu(self.a(x)) / 4)
class Product(Net):
    def forward(self, x): return self.fc(0.5 * torch.tanh(self.a(x)))
class Anything(Net):
    def forward(self, *args, **kwargs): return self.fc(torch.relu(self.a(args[0])))
class Default(Net):
    def forward(self, x, scale=2.0, training=False): return self.fc(scale * torch.relu(self.a(x)))
class Keyword(Net):
    def forward(self, x, *, mask=None): return super().forward(x if mask is None else x * mask)
class Joined(Net):
    def forward(self, x): return self.wide(torch.cat([x[:, 4:], x[:, :4], self.a(x)], 1))
class Sized(Net):
    def forward(self, x):
        assert len(x.shape) == 2 and x.size(1) == 8
        return super().forward(x.view(len(x), 2, 4).flatten(1))
class Own(nn.Linear):
    pass
class Same(nn.Linear):
    def forward(self, x): return super().forward(x)

def constant(n_classes): return Constant(n_classes)
def product(n_classes): return Product(n_classes)
def anything(n_classes): return Anything(n_classes)
def default(n_classes): return Default(n_classes)
def keyword(n_classes): return Keyword(n_classes)
def joined(n_classes): return Joined(n_classes)
def sized(n_classes): return Sized(n_classes)
def own(n_classes): return nn.Sequential(Own(8, 8), nn.ReLU6(), Same(8, n_classes))
def frozen(n_classes):
    net = Net(n_classes)
    net.a.requires_grad_(False)
    return net
def body_frozen(n_classes):
    body = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()).requires_grad_(False)
    return nn.Sequential(body, nn.Linear(8, n_classes))
def norm_frozen(n_classes):
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, n_classes))
    net[0].bias.requires_grad_(False)
    net[1].requires_grad_(False)
    return net
def all_frozen(n_classes): return Net(n_classes).requires_grad_(False)

def lazy(n_classes): return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, n_classes))
def mlp(n_classes): return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, n_classes))
def exported(n_classes): return torch.export.export(mlp(n_classes), (torch.zeros(2, 8),)).module()
def int8(n_classes):
    from torch.ao.quantization import quantize_dynamic
    return quantize_dynamic(mlp(n_classes), {nn.Linear})
def weight_norm(n_classes):
    net = mlp(n_classes)
    nn.utils.parametrizations.weight_norm(net[0])
    return net
def hooked(n_classes):
    net = mlp(n_classes)
    net[0].register_forward_hook(lambda module, args, out: out.clamp(max=1))
    return net
"""
TAKEN = (
    *("constant", "product", "anything", "default", "keyword", "joined", "sized", "own"),
    *("frozen", "body_frozen", "norm_frozen"),
)
REFUSED = {
    "lazy": ["LazyLinear", "does not know its size"],
    "exported": ["torch.export", "return the module"],
    "int8": ["is quantized already", "hardware.precision"],
    "weight_norm": ["0: its weight", "remove_parametrizations"],
    "hooked": ["something else", "hooks at 0"],
}


@pytest.mark.parametrize("network", TAKEN)
def test_taken(run, make, network: str, request) -> None:
    module = f"taken_{request.node.callspec.indices['network']}"
    (make.folder / f"{module}.py").write_text(NETWORKS)
    path = make.sweep(model={"name": f"{module}:{network}"})
    ran = run("check", path, "--fast")
    assert ran.code == 0, ran.err


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("network", REFUSED)
def test_refused(run, make, network: str, request) -> None:
    module = f"refused_{request.node.callspec.indices['network']}"
    (make.folder / f"{module}.py").write_text(NETWORKS)
    path = make.sweep(model={"name": f"{module}:{network}"})
    ran = run("check", path)
    assert ran.code == 2, ran
    assert len(ran.err.strip().splitlines()) == 1
    assert all(words in ran.err for words in REFUSED[network])


def test_a_frozen_layer_is_swept_and_keeps_what_is_left(run, make, workplace) -> None:
    (make.folder / "frozen_network.py").write_text(NETWORKS)
    path = make.sweep(model={"name": "frozen_network:frozen"}, trials=1)
    assert run("sweep", path).code == 0
