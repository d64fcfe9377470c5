"""Random networks of what the table of layers takes: each from a seed, with random hardware.

A network is a list of steps; each reads values that are there already, and adds one. What cannot be
built (an odd size, a type that is not taken) is drawn all the same now and then: it must be
refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.layers.prove import Design, seeded
from rfprune.errors import InputError
from rfprune.fpga.layers import trace
from rfprune.hardware.reuse import valid_reuse_factors

__all__ = ["random_design"]

Shape = tuple[int, ...]
#: What a step does: with the network, and with the values it reads.
Do = Callable[..., Tensor]

_STEPS = (2, 7)
#: Numbers of a value, and weights of a layer, at most: compilation takes the time.
_LARGEST, _WEIGHTS = 48, 72
#: Types; how close the C++ is to floats, relative to the largest output, where they are wide.
_TYPES: tuple[tuple[str, float | None], ...] = (
    ("fixed<8,3>", None),
    ("fixed<10,4,RND,SAT>", None),
    ("fixed<9,5,RND_CONV,SAT_SYM>", None),
    ("fixed<12,6,TRN_ZERO,WRAP>", None),
    ("fixed<16,6>", None),
    ("fixed<18,8>", None),
    # Hardly anything overflows or is rounded: as in floats.
    ("fixed<26,12,RND,SAT>", 0.05),
)


#: In place of types that alkaid does not take.
_ALKAID = {
    "fixed<12,6,TRN_ZERO,WRAP>": "fixed<12,6,TRN,SAT>",
    "fixed<26,12,RND,SAT>": "fixed<20,10,RND,SAT>",
    "fixed<9,5,RND_CONV,SAT_SYM>": "fixed<9,5,RND,SAT_SYM>",
}


class _Program(nn.Module):
    """A network that carries out steps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Do, tuple[int, ...]]] = []
        self.returned: list[int] = []
        self.keys: list[str] | None = None

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        """Return the values that are put out: a tensor, a tuple or a dict."""
        values = [x] if y is None else [x, y]
        for do, reads in self.steps:
            values.append(do(self, *(values[index] for index in reads)))
        found = [values[index] for index in self.returned]
        if self.keys is not None:
            return dict(zip(self.keys, found, strict=True))
        return found[0] if len(found) == 1 else tuple(found)


class _Writer:
    """A network, while it grows."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.net = draw, _Program()
        self.shapes: list[Shape] = []

    def layer(self, module: nn.Module) -> Do:
        """Return the call of a new module of the network."""
        name = f"l{len(self.net.steps)}"
        self.net.add_module(name, module)
        return lambda net, x: getattr(net, name)(x)

    def constant(self, shape: Shape) -> tuple[str, Callable[[nn.Module], Tensor]]:
        """Return a new buffer or trained parameter of the network."""
        name = f"c{len(self.net.steps)}"
        # That of a step that could not be carried out.
        if hasattr(self.net, name):
            delattr(self.net, name)
        value = torch.randn(shape)
        if self.draw.random() < 0.5:
            self.net.register_buffer(name, value)
        else:
            self.net.register_parameter(name, nn.Parameter(value))
        return name, lambda net: getattr(net, name)

    def add(self, do: Do, *reads: int) -> bool:
        """Append a step if it can be carried out and its value is small."""
        parts = [torch.zeros(3, *self.shapes[index]) for index in reads]
        with torch.no_grad():
            self.net.eval()
            try:
                out = do(self.net, *parts)
            except (RuntimeError, ValueError, IndexError):
                return False
        shape = tuple(out.shape[1:])
        if len(out) != 3 or not 1 <= len(shape) <= 3 or not 0 < prod(shape) <= _LARGEST:
            return False
        self.net.steps.append((do, reads))
        self.shapes.append(shape)
        return True


def random_design(seed: int, backend: str = "") -> Design:
    """Return the network and the hardware of a seed: the same on every machine.

    Args:
        seed: of the network.
        backend: alkaid, or as the seed has it.
    """
    draw = random.Random(seed)
    with seeded(seed):
        writer = _Writer(draw)
        shape = _inputs(writer)
        n_inputs = len(writer.shapes)
        for _ in range(draw.randint(*_STEPS)):
            _step(writer)
        _finish(writer, n_inputs)
        _settle(writer)
    hardware, close = _hardware(draw, writer.net, shape)
    if backend == "alkaid":
        hardware |= {"backend": backend, "io_type": "io_parallel"}
        hardware["strategy"] = "distributed_arithmetic"
        hardware["precision"] = _ALKAID.get(hardware["precision"], hardware["precision"])
        for own in hardware["layers"].values():
            own.pop("reuse_factor", None)
            own.pop("strategy", None)
            own |= {key: _ALKAID.get(value, value) for key, value in own.items()}
    return Design(f"network {seed}", writer.net.eval(), shape, hardware, close)


def _inputs(writer: _Writer) -> Any:
    draw = writer.draw
    rank = draw.choices((1, 2, 3), (4, 4, 3))[0]
    sizes = {1: (12,), 2: (4, 7), 3: (3, 5, 5)}[rank]
    shape = tuple(draw.randint(2 if rank == 1 else 1, size) for size in sizes)
    writer.shapes.append(shape)
    if draw.random() < 0.8:
        return shape
    other = shape if draw.random() < 0.5 else (draw.randint(2, 6),)
    writer.shapes.append(other)
    return {"x": shape, "y": other}


def _step(writer: _Writer) -> None:
    draw = writer.draw
    # What was made last is read most often: deep rather than wide.
    last = len(writer.shapes) - 1
    index = last if draw.random() < 0.75 else draw.randint(0, last)
    rank = len(writer.shapes[index])
    kinds: list[Callable[[_Writer, int], bool]] = [*_ANY, *_ANY_TWICE, *_ANY_TWICE, *_BY_RANK[rank]]
    draw.choice(kinds)(writer, index)


def _finish(writer: _Writer, n_inputs: int) -> None:
    """Read what nobody has read yet, and put out one value or several."""
    net, draw = writer.net, writer.draw
    read = {index for _, reads in net.steps for index in reads}
    loose = [index for index in range(len(writer.shapes)) if index not in read]
    flat = []
    for index in loose:
        if index < n_inputs or (len(loose) > 1 and draw.random() < 0.7):
            writer.add(lambda net, x: x.flatten(1), index)
            flat.append(len(writer.shapes) - 1)
        else:
            net.returned.append(index)
    if flat:
        writer.add(lambda net, *parts: torch.cat(parts, 1), *flat)
        whole = len(writer.shapes) - 1
        writer.add(writer.layer(nn.Linear(writer.shapes[whole][0], draw.randint(1, 4))), whole)
        net.returned.append(len(writer.shapes) - 1)
    if draw.random() < 0.15:
        net.returned.append(draw.randint(n_inputs, len(writer.shapes) - 1))
    net.returned = list(dict.fromkeys(net.returned))
    if draw.random() < 0.2:
        net.keys = [f"head{number}" for number in range(len(net.returned))]


def _settle(writer: _Writer) -> None:
    """Statistics of batch norms, biases and pruned weights as after a training."""
    for module in writer.net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 2)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and writer.draw.random() < 0.4:
            with torch.no_grad():
                module.weight *= (torch.rand_like(module.weight) < 0.5).float()


def _hardware(
    draw: random.Random, net: nn.Module, shape: Any
) -> tuple[dict[str, Any], float | None]:
    precision, close = draw.choice(_TYPES)
    io_type = draw.choices(("io_parallel", "io_stream"), (2, 1))[0]
    found: dict[str, Any] = {"precision": precision, "io_type": io_type, "layers": {}}
    found["backend"] = draw.choices(("Vitis", "Vivado"), (5, 1))[0]
    try:
        network = trace(net, shape)
    except InputError:
        return found, close
    strategies: dict[str, str] = {}
    for layer in network.layers:
        own: dict[str, Any] = {}
        strategy = draw.choice(("latency", "latency", "resource_unrolled", "resource"))
        # Both weights of a recurrent layer are built in one.
        strategy = strategies.setdefault(layer.operation, strategy)
        n_in, n_out, largest = layer.size(io_type)
        factors = valid_reuse_factors(n_in, n_out, strategy, largest)
        if layer.kind.gates:
            factors = [factor for factor in factors if factor > 1] or factors
        if strategy != "latency" and not layer.kind.depthwise and factors:
            own = {"reuse_factor": draw.choice(factors), "strategy": strategy}
            if own["reuse_factor"] == 1 and strategy == "resource_unrolled":
                own = {}
        if layer.kind.depthwise:
            own = {"strategy": "latency"}
        if close is None and draw.random() < 0.3:
            own["precision"] = draw.choice(_TYPES[:4])[0]
        if close is None and draw.random() < 0.3:
            own["weight_precision"] = draw.choice(("fixed<6,2>", "fixed<8,1,RND,SAT>"))
        # One weight of a recurrent layer has no output.
        if close is None and draw.random() < 0.15 and not layer.kind.gates:
            own["output_precision"] = draw.choice(_TYPES[:4])[0]
        found["layers"][layer.name] = own
    return found, close


# Steps ----------------------------------------------------------------------------------------


def _activation(writer: _Writer, index: int) -> bool:
    draw = writer.draw
    modules = (
        *(nn.ReLU(), nn.ReLU(), nn.LeakyReLU(draw.choice((0.01, 0.2, 0.5))), nn.ELU()),
        *(nn.Sigmoid(), nn.Tanh(), nn.ReLU6(), nn.Hardtanh(0.0, 1.0)),
        *(nn.Threshold(draw.choice((0.0, 0.3, 1.0)), 0.0), nn.Dropout(), nn.Identity()),
    )
    ways: tuple[Do, ...] = (
        lambda net, x: torch.relu(x),
        lambda net, x: x.clamp(0, draw_high),
        lambda net, x: F.leaky_relu(x, 0.3),
        lambda net, x: x.tanh(),
        lambda net, x: torch.sigmoid(x),
        lambda net, x: F.relu6(x),
    )
    draw_high = draw.choice((None, 1, 6))
    if draw.random() < 0.6:
        return writer.add(writer.layer(draw.choice(modules)), index)
    return writer.add(draw.choice(ways), index)


def _arithmetic(writer: _Writer, index: int) -> bool:
    draw, number = writer.draw, round(writer.draw.uniform(-2, 2), 3)
    ways: tuple[Do, ...] = (
        lambda net, x: x + number,
        lambda net, x: number - x,
        lambda net, x: x * number,
        lambda net, x: x / 4,
        lambda net, x: -x,
        lambda net, x: x**2,
        lambda net, x: x + x,
        lambda net, x: torch.maximum(x, -x),
    )
    return writer.add(draw.choice(ways), index)


def _with_constant(writer: _Writer, index: int) -> bool:
    """A buffer or parameter: of every element, per feature, or per row of features."""
    draw, shape = writer.draw, writer.shapes[index]
    kept = [draw.random() < 0.6 for _ in shape]
    shape = tuple(size if keep else 1 for size, keep in zip(shape, kept, strict=True))
    _, get = writer.constant(shape)
    ways: tuple[Do, ...] = (
        lambda net, x: x + get(net),
        lambda net, x: get(net) - x,
        lambda net, x: x * get(net),
    )
    return writer.add(draw.choice(ways), index)


def _merge(writer: _Writer, index: int) -> bool:
    draw, shape = writer.draw, writer.shapes[index]
    same = [i for i, other in enumerate(writer.shapes) if len(other) == len(shape)]
    other = draw.choice(same)
    ways: tuple[Do, ...] = (
        lambda net, a, b: a + b,
        lambda net, a, b: a - b,
        lambda net, a, b: a * b,
        lambda net, a, b: torch.maximum(a, b),
        lambda net, a, b: torch.minimum(a, b),
    )
    return writer.add(draw.choice(ways), index, other)


def _join(writer: _Writer, index: int) -> bool:
    draw, rank = writer.draw, len(writer.shapes[index])
    same = [i for i, other in enumerate(writer.shapes) if len(other) == rank]
    others = [draw.choice(same) for _ in range(draw.choice((1, 1, 2)))]
    axis = draw.randint(1, rank)
    return writer.add(lambda net, *parts: torch.cat(parts, axis), index, *others)


def _linear(writer: _Writer, index: int) -> bool:
    size, draw = writer.shapes[index][-1], writer.draw
    out = draw.randint(1, max(1, min(6, _WEIGHTS // size)))
    if len(writer.shapes[index]) == 1 and draw.random() < 0.1:
        name = f"l{len(writer.net.steps)}"
        writer.net.add_module(name, nn.Linear(size, out))
        own = lambda net: getattr(net, name)  # noqa: E731
        return writer.add(lambda net, x: F.linear(x, own(net).weight, own(net).bias), index)
    return writer.add(writer.layer(nn.Linear(size, out, bias=draw.random() < 0.8)), index)


def _slice(writer: _Writer, index: int) -> bool:
    draw, shape = writer.draw, writer.shapes[index]
    axis = draw.randint(1, len(shape))
    begin, step = draw.randint(0, shape[axis - 1] - 1), draw.choice((1, 1, 2))
    key = (slice(None),) * axis + (slice(begin, None, step),)
    ways: tuple[Do, ...] = (
        lambda net, x: x[key],
        lambda net, x: x.flip(axis),
        lambda net, x: x.chunk(2, axis)[0],
        lambda net, x: x.unsqueeze(axis),
        lambda net, x: x.flatten(1),
    )
    return writer.add(draw.choice(ways), index)


def _reduce(writer: _Writer, index: int) -> bool:
    draw, rank = writer.draw, len(writer.shapes[index])
    axes = sorted(draw.sample(range(1, rank + 1), draw.randint(1, rank)))
    keep = rank == len(axes) or draw.random() < 0.3
    ways: tuple[Do, ...] = (
        lambda net, x: x.sum(axes, keepdim=keep),
        lambda net, x: x.mean(axes, keepdim=keep),
    )
    return writer.add(draw.choice(ways), index)


def _turn(writer: _Writer, index: int) -> bool:
    draw, shape = writer.draw, writer.shapes[index]
    axes = list(range(1, len(shape) + 1))
    draw.shuffle(axes)
    return writer.add(lambda net, x: x.permute(0, *axes), index)


def _unflatten(writer: _Writer, index: int) -> bool:
    size = writer.shapes[index][0]
    parts = [part for part in range(2, size) if size % part == 0]
    if not parts:
        return False
    part = writer.draw.choice(parts)
    return writer.add(lambda net, x: x.reshape(len(x), part, -1), index)


def _norm(writer: _Writer, index: int) -> bool:
    shape = writer.shapes[index]
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return writer.add(writer.layer(kind(shape[0])), index)


def _convolution(writer: _Writer, index: int) -> bool:
    draw, shape = writer.draw, writer.shapes[index]
    kind = nn.Conv1d if len(shape) == 2 else nn.Conv2d
    kernel = tuple(draw.randint(1, min(3, size)) for size in shape[1:])
    most = max(1, min(4, _WEIGHTS // (shape[0] * prod(kernel))))
    stride: Any = tuple(draw.choice((1, 1, 2)) for _ in kernel)
    padding: Any = draw.choice((0, 0, 1, "same"))
    stride = 1 if padding == "same" else stride
    deep = draw.random() < 0.2
    filters, groups = (shape[0], shape[0]) if deep else (draw.randint(1, most), 1)
    layer = kind(  # type: ignore[operator]
        *(shape[0], filters, kernel, stride, padding), groups=groups, bias=draw.random() < 0.8
    )
    return writer.add(writer.layer(layer), index)


def _recurrent(writer: _Writer, index: int) -> bool:
    """A GRU or LSTM: its sequence, its last step, or its state."""
    draw, features = writer.draw, writer.shapes[index][1]
    kind, gates = draw.choice(((nn.GRU, 3), (nn.LSTM, 4)))
    fitting = [n for n in range(1, 5) if gates * n * (features + n) <= 2 * _WEIGHTS]
    units, name = draw.choice(fitting or [1]), f"l{len(writer.net.steps)}"
    layer = kind(features, units, batch_first=True, bias=draw.random() < 0.8)
    writer.net.add_module(name, layer)

    def state(net: nn.Module, x: Tensor) -> Tensor:
        found: Tensor = getattr(net, name)(x)[1]
        return found if kind is nn.GRU else found[0]

    ways: tuple[Do, ...] = (
        lambda net, x: getattr(net, name)(x)[0],
        lambda net, x: getattr(net, name)(x)[0],
        lambda net, x: getattr(net, name)(x)[0][:, -1],
        lambda net, x: state(net, x)[-1],
        lambda net, x: state(net, x).squeeze(0),
    )
    return writer.add(draw.choice(ways), index)


def _attend(writer: _Writer, index: int) -> bool:
    draw, rank = writer.draw, len(writer.shapes[index])
    other = draw.choice([i for i, shape in enumerate(writer.shapes) if len(shape) == rank])
    axis, scale = draw.randint(1, rank), draw.choice((0.25, 1, 2.7))
    letters = "hij"[-rank:]
    moved = f"n{letters},n{letters[:-2]}kj->n{letters[:-2]}ki"
    ways: tuple[Do, ...] = (
        lambda net, a, b: a @ b.transpose(-1, -2),
        lambda net, a, b: a.transpose(-1, -2) @ b,
        lambda net, a, b: torch.einsum(moved, a, b),
        lambda net, a, b: torch.softmax(a * scale, axis) * b,
        lambda net, a, b: torch.softmax(a @ b.transpose(-1, -2) / scale, -1) @ b,
        lambda net, a, b: F.scaled_dot_product_attention(a, b, b),
    )
    return writer.add(draw.choice(ways), index, other)


def _pool(writer: _Writer, index: int) -> bool:
    draw, shape = writer.draw, writer.shapes[index]
    rank = len(shape) - 1
    kernel = tuple(draw.randint(1, min(3, size)) for size in shape[1:])
    stride = kernel if draw.random() < 0.6 else tuple(draw.randint(1, 2) for _ in kernel)
    padding = draw.choice((0, 0, 0, 1))
    average = draw.random() < 0.5
    names = ("AvgPool", "AdaptiveAvgPool") if average else ("MaxPool", "AdaptiveMaxPool")
    if draw.random() < 0.25:
        outs = tuple(draw.choice((1, size)) for size in shape[1:])
        adaptive = getattr(nn, f"{names[1]}{rank}d")
        return writer.add(writer.layer(adaptive(outs if rank > 1 else outs[0])), index)
    make = getattr(nn, f"{names[0]}{rank}d")
    more = {"count_include_pad": draw.random() < 0.5} if average else {}
    return writer.add(writer.layer(make(kernel, stride, padding, **more)), index)


def _resize(writer: _Writer, index: int) -> bool:
    draw, rank = writer.draw, len(writer.shapes[index]) - 1
    if draw.random() < 0.5:
        return writer.add(writer.layer(nn.Upsample(scale_factor=2)), index)
    sizes = tuple(draw.randint(0, 2) for _ in range(2 * rank))
    pad = nn.ConstantPad1d if rank == 1 else nn.ConstantPad2d
    return writer.add(writer.layer(pad(sizes, 0.0)), index)  # type: ignore[operator]


_ANY = (_arithmetic, _with_constant, _merge, _join, _slice, _reduce)
_ANY_TWICE = (_activation, _linear)
_BY_RANK = {
    1: (_unflatten, _linear, _norm),
    2: (
        *(_convolution, _convolution, _convolution, _pool, _pool, _norm, _turn, _resize),
        *(_recurrent, _recurrent, _attend, _attend),
    ),
    3: (_convolution, _convolution, _convolution, _pool, _pool, _norm, _turn, _resize, _attend),
}
