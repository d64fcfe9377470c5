"""One rung of the ladder of a planned network: values and types chosen while the budgets fall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.core.named import call
from rfprune.core.quantities import RESOURCES
from rfprune.data import Dataset
from rfprune.fpga.adders.digits import digit_levels
from rfprune.fpga.adders.rung import KEPT, Rung
from rfprune.fpga.layers import UNROLLED, Plan
from rfprune.fpga.values.costs import activation_cost, kinds_of_values, value_costs
from rfprune.fpga.values.fisher import seen_by_layers, weight_fisher
from rfprune.fpga.values.numbers import FRACTIONS, ValueNumbers, folded_weights, weight_type
from rfprune.fpga.values.places import Typed
from rfprune.fpga.values.readers import Pair, unread_outputs
from rfprune.methods.joint_widths import JointChoice, Place, Readers, choose_jointly
from rfprune.spec.widths import WidthsSpec
from rfprune.tasks import Task

__all__ = ["ValueRung"]

#: Rows that a Fisher matrix takes, of dense networks and where every position counts.
_ROWS, _ROWS_CONV = 2048, 256
#: Rows that go through at once, and rows that integer bits are set by on the way.
_AT_ONCE, _CALIBRATED = 4096, 8192
#: Widest type that is offered.
_WIDEST = 18
_NEVER_TAKEN = 1e30
#: Choices at most until the network is within its budgets as it is estimated, and how near is near
#: enough from below.
_CORRECTIONS, _FILLED = 5, 0.97


@dataclass
class ValueRung(Rung):
    """One step.

    Attributes:
        file: the plan of the file's own types.
        typed: the places.
        pairs: which layers' outputs others read channel by channel.
        model, numbers: the network.
        data: the rows.
        task: what the training is for.
        spec: the settings.
        budget: (R,) at the end, as built; inf = no limit.
        first: (R,) at the start, in units of the model of costs.
        graph: returns what trains the network in its present numbers.
        built: returns (R,) what the network takes in its present numbers, or None if that is known
            at the end alone.
        seed: of the rows that a Fisher matrix takes, and of its labels.
        choice: the last one.
    """

    file: Plan
    typed: Typed
    pairs: tuple[Pair, ...]
    model: nn.Module
    numbers: ValueNumbers
    data: Dataset
    task: Task
    spec: WidthsSpec
    budget: FloatArray
    first: FloatArray
    graph: Callable[[], fx.GraphModule]
    built: Callable[[], FloatArray] | None
    seed: int
    choice: JointChoice | None = None
    gaps: list[float] = field(default_factory=list)
    _fisher: list[FloatArray] = field(default_factory=list)
    _input_fisher: list[float] = field(default_factory=list)
    _done: bool = False

    def __post_init__(self) -> None:
        """Seed what is drawn."""
        self._begin(self.seed)

    def _weights(self) -> list[Tensor]:
        return [layer.layer.weight_of(self.model) for layer in self.file.layers]

    def calibrate(self, x: Any, widens: bool = False) -> None:
        """Set the integer bits of every place so that none of these rows wraps."""
        largest = torch.zeros(len(self.typed.sites), dtype=torch.float64)
        graph, hooks = self.graph(), []

        def watch(place: int) -> Callable[..., None]:
            def look(module: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
                # Rounding down can take a negative number one step further from zero.
                most = torch.maximum(out.amax(), -out.amin() * (1 + 2**-20)).double().cpu()
                largest[place] = torch.maximum(largest[place], most)

            return look

        modules = dict(graph.named_modules())
        for place, site in enumerate(self.typed.sites):
            for name in site.operations:
                if f"rounded_{name}" in modules:
                    module = modules[f"rounded_{name}"]
                    hooks.append(module.register_forward_hook(watch(place)))
        rows = x if self._done else x[:_CALIBRATED]
        with torch.no_grad():
            for start in range(0, len(rows), _AT_ONCE):
                call(graph, rows[start : start + _AT_ONCE])
        for hook in hooks:
            hook.remove()
        bits = torch.floor(torch.log2(largest.clamp_min(1e-9))).long() + 1
        bits = torch.maximum(bits.clamp_min(0), self._bias_bits())
        self.numbers.integer = torch.maximum(bits, self.numbers.integer) if widens else bits

    def finish(self) -> None:
        """Set the types that are built: by all training and validation rows, and all weights."""
        self._done = True
        self.calibrate(self.data.x_train)
        self.calibrate(self.data.x_val, widens=True)
        self._fit_weights()

    def _fit_weights(self) -> None:
        folded = folded_weights(self.model, self.file)
        values = [self.numbers.value(i, w).detach() for i, w in enumerate(folded)]
        self.numbers.fit_weights(values)

    def _bias_bits(self) -> Tensor:
        """Return (M,) bits before the point that the biases of a place's layer need."""
        graph = self.graph()
        found = torch.zeros(len(self.typed.sites), dtype=torch.int64)
        named = {layer.name: layer for layer in self.file.layers}
        for place, site in enumerate(self.typed.sites):
            if site.layer is None:
                continue
            module: Any = graph.get_submodule(f"fixed_{named[site.layer].layer.operation}")
            bias = module.bias_in_floats()
            if bias is not None and bias.numel():
                largest = float(bias.abs().max())
                found[place] = max(0, int(np.floor(np.log2(max(largest, 1e-9)))) + 1)
        return found

    def _measure_fisher(self) -> None:
        """Take the Fisher matrices on some rows, and mix them with those before."""
        dense = all(layer.layer.kind.name == "dense" for layer in self.file.layers)
        rows, most = len(self.data.x_train), _ROWS if dense else _ROWS_CONV
        pick = torch.randint(rows, (min(rows, most),), generator=self._random)
        x, y = self.data.x_train[pick], self.data.y_train[pick]
        graph, training = self.graph(), self.model.training
        self.model.eval()
        with seen_by_layers(graph, self.file.layers) as (inputs, outputs):
            output = call(graph, x)
        self.model.train(training)
        aims = self.task.aims(self._drawn(output, y))
        loss = self.task.loss(self.task.judged(output, x), aims) * len(x)
        found = torch.autograd.grad(loss, [*inputs, *outputs], allow_unused=True)
        half = len(inputs)
        fisher, by_place = [], [0.0] * len(self.typed.sites)
        counted: set[int] = set()
        for index, layer in enumerate(self.file.layers):
            a, da, dz = inputs[index].detach(), found[index], found[half + index]
            if dz is None or da is None:
                fisher.append(np.zeros(layer.layer.weight_shape))
                continue
            module = self.model.get_submodule(layer.layer.path)
            fisher.append(weight_fisher(layer, module, a, dz))
            place = self.typed.read[index]
            # What several layers read has the gradients of all of them.
            if place >= 0 and id(inputs[index]) not in counted:
                counted.add(id(inputs[index]))
                by_place[place] += float((da.double() ** 2).mean(0).sum())
        self._mix(fisher, by_place)

    def _mix(self, fisher: list[FloatArray], by_place: list[float]) -> None:
        if not self._fisher:
            self._fisher, self._input_fisher = fisher, by_place
            return
        for index, found in enumerate(fisher):
            self._fisher[index] = KEPT * self._fisher[index] + (1 - KEPT) * found
        for place, mean in enumerate(by_place):
            self._input_fisher[place] = KEPT * self._input_fisher[place] + (1 - KEPT) * mean

    def _choose_at(self, share: float, last: bool) -> None:
        """Choose under the budgets at `share` of their fall; the last one as it is built."""
        if not last or self.built is None:
            self._choose(self._falling(share, self.budget * self.numbers.scale), not last)
            return
        limited = np.isfinite(self.budget)
        held: tuple[JointChoice, dict[str, Tensor]] | None = None
        for _ in range(_CORRECTIONS):
            choice = self._choose(self.budget * self.numbers.scale, False)
            self._fit_weights()
            built = self.built()
            # In the model's units: what it said, for what is built.
            ratio = np.where(built > 0, choice.cost / np.maximum(built, 1e-9), self.numbers.scale)
            self.numbers.scale = np.where(limited, ratio, self.numbers.scale)
            if (built[limited] <= self.budget[limited]).all():
                if held is None or choice.loss < held[0].loss:
                    held = choice, self.numbers.saved()
                under = built[limited] < _FILLED * self.budget[limited]
                # What a price of nothing leaves over is not wanted.
                if not (under & (choice.prices[limited] > 0)).any():
                    break
        if held is not None and held[0] is not self.choice:
            self.choice = held[0]
            self.numbers.take(held[1])

    def _falling(self, share: float, end: FloatArray) -> FloatArray:
        """Return (R,) the budgets on the way, which fall by the same factor everywhere."""
        first = np.maximum(self.first, end)
        with np.errstate(divide="ignore", invalid="ignore"):
            now = first * np.where(first > 0, end / first, 0.0) ** share
        return np.where(np.isfinite(end), now, np.inf)

    def _choose(self, budget: FloatArray, quick: bool) -> JointChoice:
        """Choose values and types at once, and take them over."""
        weights = [w.cpu() for w in folded_weights(self.model, self.file)]
        places, layers = self._menus(weights)
        near = None if self.choice is None else self.choice.prices
        choice = choose_jointly(places, layers, budget, near=near, quick=quick, names=RESOURCES)
        self.choice = choice
        self.gaps.append(choice.gap)
        for index, layer in enumerate(self.file.layers):
            shape = layer.layer.weight_shape
            entry = torch.from_numpy(choice.entry[index]).reshape(shape)
            self.numbers.digits[index] = self._digits(index)[entry]
            self.numbers.grid[index] = self._grids(index)[int(choice.grid[index])]
        self.numbers.fraction = torch.from_numpy(FRACTIONS[choice.width]).long()
        if not self.typed.sites:
            self.numbers.fraction = torch.zeros(0, dtype=torch.int64)
        self._press(layers, choice)
        return choice

    def _digits(self, index: int) -> Tensor:
        """Return (K,) most digits of each entry of a layer's menus."""
        most = self.numbers.most
        if self.file.layers[index].strategy == UNROLLED:
            return torch.arange(most + 1)
        # From three digits on a constant is a multiplier, and costs the same.
        return torch.tensor([0, *range(1, min(3, most)), most])

    def _menus(self, weights: list[Tensor]) -> tuple[list[Place], list[Readers]]:
        """Return the menus of all places and layers as they are now."""
        places, offered = [], []
        for place, site in enumerate(self.typed.sites):
            own = self.file.layers[site.readers[0]]
            bits = FRACTIONS + int(self.numbers.integer[place]) + int(own.data.signed)
            allowed = (bits > int(own.data.signed)) & (bits <= _WIDEST)
            worth = 0.5 * self.spec.activation_weight * self._input_fisher[place]
            rounding = np.where(allowed, worth * 4.0 ** -FRACTIONS.astype(float) / 12, _NEVER_TAKEN)
            each = activation_cost(site.activations, own.strategy)
            places.append(Place(rounding, np.maximum(bits, 1)[:, None] * each))
            offered.append(np.maximum(bits, 1))
        layers = []
        for index, weight in enumerate(weights):
            if self.typed.read[index] < 0:
                # The file decides: a place of one width.
                places.append(Place(np.zeros(1), np.zeros((1, len(RESOURCES)))))
                offered.append(np.array([self.file.layers[index].data.width]))
                place = len(places) - 1
            else:
                place = self.typed.read[index]
            layers.append(self._readers(index, weight, place, offered[place]))
        self._leave_unread(layers)
        return places, layers

    def _grids(self, index: int) -> list[int]:
        """Return bits behind the point that a layer's weights are offered, fewest first.

        One more and one less than now: it is asked often enough to get anywhere, and each takes as
        long as all menus. Adders of a graph have widths of their own, whatever the grid.
        """
        most = self.numbers.weight_fraction
        if self.file.layers[index].strategy == UNROLLED:
            return [most]
        now = int(self.numbers.grid[index])
        return list(range(max(min(1, most), now - 1), min(most, now + 1) + 1))

    def _readers(self, index: int, weight: Tensor, place: int, bits: IntArray) -> Readers:
        own, numbers = self.file.layers[index], self.numbers
        fisher = 0.5 * (self._fisher[index].reshape(-1) + 1e-12)
        wanted = weight.double().flatten().numpy()
        losses, kinds, costs = [], [], []
        for behind in self._grids(index):
            levels = digit_levels(weight, numbers.most, behind)
            values = levels[self._digits(index)].double().flatten(1).numpy()
            before = _whole_bits(values, behind)
            layer = replace(own, weight=weight_type(before, max(behind, 1)))
            losses.append(fisher * (values - wanted) ** 2)
            # HLS sees whole numbers, in units of the last bit that any weight has.
            kinds.append(kinds_of_values(values, layer.strategy, layer.weight.fractional))
            costs.append(value_costs(layer, bits.tolist(), numbers.most))
        return Readers(place, np.stack(losses), np.stack(kinds), np.stack(costs))

    def _leave_unread(self, layers: list[Readers]) -> None:
        """Let what feeds an output that nobody reads lose and cost nothing."""
        for writer, unread in unread_outputs(self.pairs, self.numbers.digits):
            shape = self.file.layers[writer].layer.weight_shape
            dead = np.broadcast_to(unread.reshape(-1, *[1] * (len(shape) - 1)), shape).reshape(-1)
            layers[writer].loss[..., dead] = 0.0
            layers[writer].kind[..., dead] = 0

    def _press(self, layers: list[Readers], choice: JointChoice) -> None:
        """Set L1 by what a digit costs at the prices, and let zeros decay."""
        every = choice.prices if choice.prices.any() else np.ones(len(RESOURCES))
        digit = []
        for layer, grid in zip(layers, choice.grid, strict=True):
            width = choice.width[layer.place]
            digit.append(float(layer.cost[grid, width, 1] @ every))
        mean = float(np.mean(digit)) or 1.0
        self._factor, self._left = [], []
        for weight, digits, cost in zip(self._weights(), self.numbers.digits, digit, strict=True):
            self._factor.append(torch.full_like(weight, self.spec.l1 * cost / mean))
            self._left.append(1 - self.spec.decay * (digits == 0).to(weight))


def _whole_bits(values: FloatArray, behind: int) -> int:
    """Return the bits before the point that the largest of some values on a grid needs."""
    largest = int(np.rint(np.abs(values).max(initial=0.0) * 2.0**behind))
    return max(0, largest.bit_length() - behind)
