"""The kernels of a network as an agent sees them: layers, their importance, masks of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.core.registry import nearest
from rfprune.edge.kernels.channels import Channels, Shape, find_channels
from rfprune.edge.kernels.counting import Formulas, KernelCounts, make_formulas
from rfprune.edge.kernels.flow import Flow, find_flow, find_silencers
from rfprune.edge.kernels.importance import rank_kernels
from rfprune.edge.kernels.operations import ChannelKind
from rfprune.errors import NetworkError, SpecError, UnknownNameError

__all__ = ["KernelLayer", "KernelMap", "Masks", "trace_kernels"]


@dataclass(frozen=True)
class KernelLayer:
    """Kernels that an agent decides about at once: a set of coupled convolutions or dense layers.

    The outputs of its convolutions are added to each other (residual sums), or there is only one.
    Kernel k of the layer is kernel k of every one of them, with all that follows: batch norm,
    depthwise convolution, the gate of squeeze-excite, and the input channel of the next layers.
    Before a grouped convolution a kernel of the layer is all of those that it reads together; of a
    convolution whose output is sliced, each part is a layer.

    Attributes:
        name: path of its first convolution; a part of one has the first and last kernel behind it,
            as ``conv.0-15``.
        convs: paths of all its convolutions and dense layers.
        followers: paths of the depthwise convolutions, norms and gates that lose a channel with
            each kernel.
        n_kernels: kernels of each of them.
        weights_per_kernel: parameters that go with one kernel of the unpruned network, in the
            layers that read it too.
        macs_per_kernel: multiply-accumulates that go with it.
        removable: all kernels may go, because a skip path or another branch keeps the network
            connected, even if all other removable layers are gone.
        kept_because: why no kernel of it may go, or None.
        group: its number among the groups of `Channels`.
    """

    name: str
    convs: tuple[str, ...]
    followers: tuple[str, ...]
    n_kernels: int
    weights_per_kernel: int
    macs_per_kernel: int
    removable: bool
    kept_because: str | None
    group: int


@dataclass(frozen=True, eq=False)
class KernelMap:
    """All kernels of a network; holds no weights.

    Attributes:
        layers: every set of coupled convolutions, in order of execution.
        input_shape: shape of one sample, without the batch.
        channels: what has which channels.
        formulas: how its operations are counted.
    """

    layers: tuple[KernelLayer, ...]
    input_shape: Shape
    channels: Channels
    formulas: Formulas

    @cached_property
    def prunable(self) -> tuple[KernelLayer, ...]:
        """The layers of which kernels may go, L of them: what an agent acts on."""
        return tuple(layer for layer in self.layers if layer.kept_because is None)

    @cached_property
    def n_kernels(self) -> IntArray:
        """(L,) kernels of each prunable layer."""
        return np.array([layer.n_kernels for layer in self.prunable], dtype=np.int64)

    def rank(self, model: nn.Module, by: str = "l1") -> dict[str, Tensor]:
        """Return the importance of every kernel of the prunable layers, by layer name.

        The values of coupled convolutions are summed; see `rfprune.edge.kernels.importance`.

        Args:
            model: the network, or one of the same structure.
            by: l1, l2 or mean.

        Raises:
            UnknownNameError: no such importance.
        """
        by_group = rank_kernels(model, self.channels, by)
        return {layer.name: by_group[layer.group] for layer in self.prunable}

    def kept(self, fractions: Mapping[str, float] | ArrayLike) -> IntArray:
        """Return (..., L) how many kernels are kept when these fractions are pruned.

        ``floor(fraction * n + 1/2)`` kernels of n are pruned, but never all of them unless the
        fraction is exactly 1.

        Args:
            fractions: (..., L) for the prunable layers, or by layer name (others keep all).

        Raises:
            SpecError: a fraction out of 0..1, a wrong number of them, or 1 for a layer that is not
                removable.
            UnknownNameError: no prunable layer of that name.
        """
        wanted = self._by_layer(fractions)
        whole = wanted == 1
        for layer, is_whole in zip(self.prunable, np.moveaxis(whole, -1, 0), strict=True):
            if is_whole.any() and not layer.removable:
                raise SpecError(
                    f"layer '{layer.name}': a fraction of 1 would cut the network in two, no skip "
                    "path goes around it; below 1 is allowed."
                )
        # `np.round` takes halves to the even number: one fraction would prune unlike shares of
        # layers.
        pruned = np.floor(wanted * self.n_kernels + 0.5).astype(np.int64)
        kept: IntArray = np.where(whole, 0, np.maximum(self.n_kernels - pruned, 1))
        return kept

    def masks(
        self,
        importance: nn.Module | Mapping[str, Tensor],
        fractions: Mapping[str, float] | ArrayLike,
    ) -> Masks:
        """Return masks that prune these fractions, lowest importance first (ties: last first).

        Args:
            importance: what `rank` returned, or a network, which is then ranked by L1.
            fractions: (L,) for the prunable layers, or by layer name; see `kept`.

        Raises:
            SpecError, UnknownNameError: as `kept`.
            NetworkError: nothing would connect input and output any more.
        """
        if isinstance(importance, nn.Module):
            importance = self.rank(importance)
        chosen = {}
        for layer, n_kept in zip(self.prunable, self.kept(fractions), strict=True):
            # Stable: equal importances keep the order of the channels on every machine.
            order = torch.argsort(importance[layer.name], descending=True, stable=True)
            mask = torch.zeros(layer.n_kernels, dtype=torch.bool)
            mask[order[: int(n_kept)].cpu()] = True
            chosen[layer.name] = mask
        return Masks(self, chosen)

    def count(self, kept: ArrayLike) -> KernelCounts:
        """Count what the pruned networks take, without building them; arrays (..., n).

        Args:
            kept: (..., L) kernels that are kept, see `kept` and `Masks.kept`.
        """
        kept = np.asarray(kept, dtype=np.int64)
        counts = self.formulas.evaluate(self.flow(kept.reshape(-1, len(self.prunable))))
        lead = kept.shape[:-1]
        arrays = (counts.macs, counts.parameters, counts.activation_bytes, counts.inputs)
        macs, parameters, outputs, inputs = (array.reshape(*lead, -1) for array in arrays)
        return KernelCounts(counts.layers, macs, parameters, outputs, inputs, counts.kinds)

    def flow(self, kept: IntArray) -> Flow:
        """Return what is left of the network for (P, L) kernels kept."""
        # Groups that are not pruned keep all of their channels.
        groups = np.tile(np.array(self.channels.sizes, dtype=np.int64), (len(kept), 1))
        groups[:, [layer.group for layer in self.prunable]] = kept
        return find_flow(self.channels, groups)

    def _by_layer(self, fractions: Mapping[str, float] | ArrayLike) -> FloatArray:
        names = [layer.name for layer in self.prunable]
        if isinstance(fractions, Mapping):
            for name in fractions:
                _known(name, names, self.layers)
            fractions = [fractions.get(name, 0.0) for name in names]
        values = np.asarray(fractions, dtype=np.float64)
        if values.shape[-1:] != (len(names),):
            raise SpecError(
                f"fractions: {values.shape[-1] if values.ndim else 'no'} values for the "
                f"{len(names)} prunable layers; give one each."
            )
        if not ((values >= 0) & (values <= 1)).all():
            worst = values[~((values >= 0) & (values <= 1))][0]
            raise SpecError(f"fractions: {worst} is not a fraction; allowed is 0 to 1.")
        return values


class Masks(Mapping[str, Tensor]):
    """Which kernels stay: per prunable layer (n_kernels,) bool, True = kept.

    Attributes:
        kernels: the map that they belong to.
        kept: (L,) number of kernels that stay.
        flow: what is left of the network, as one policy.
        silencers: parameters that must be zero so that removed branches add nothing.
    """

    def __init__(self, kernels: KernelMap, by_layer: Mapping[str, Tensor]) -> None:
        """Check and complete masks; layers that are not named keep all kernels.

        Raises:
            UnknownNameError: no prunable layer of that name.
            NetworkError: a mask of the wrong length, or nothing would connect input and output.
        """
        names = [layer.name for layer in kernels.prunable]
        for name in by_layer:
            _known(name, names, kernels.layers)
        self.kernels = kernels
        self._by_layer = {}
        for layer in kernels.prunable:
            mask = by_layer.get(layer.name, torch.ones(layer.n_kernels)).detach().cpu().bool()
            if mask.shape != (layer.n_kernels,):
                raise NetworkError(
                    f"layer '{layer.name}': its mask has shape {tuple(mask.shape)}, expected "
                    f"({layer.n_kernels},), one value per kernel."
                )
            self._by_layer[layer.name] = mask
        self.kept = np.array([int(mask.sum()) for mask in self._by_layer.values()], dtype=np.int64)
        self.flow = kernels.flow(self.kept[None])
        # Checked here, so that a mask that exists can always be applied.
        silencers = find_silencers(kernels.channels, self.flow.live[0])
        if silencers is None or not self.flow.connected[0]:
            gone = [name for name, n_kept in zip(names, self.kept, strict=True) if n_kept == 0]
            raise NetworkError(
                f"without any kernel of {', '.join(gone)} nothing connects the network's input and "
                "output; keep at least one."
            )
        self.silencers = frozenset(silencers)

    def __getitem__(self, name: str) -> Tensor:
        return self._by_layer[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_layer)

    def __len__(self) -> int:
        return len(self._by_layer)

    @property
    def by_group(self) -> list[Tensor]:
        """Per group of channels (channels,) bool, also of what died with its only source."""
        channels = self.kernels.channels
        masks = [torch.ones(size, dtype=torch.bool) for size in channels.sizes]
        for layer in self.kernels.prunable:
            masks[layer.group] = self._by_layer[layer.name]
        kept = self.flow.kept[0]
        return [m if kept[g] else torch.zeros_like(m) for g, m in enumerate(masks)]

    @property
    def sparsity(self) -> float:
        """Fraction of the prunable layers' kernels that are pruned."""
        return float(1 - self.kept.sum() / self.kernels.n_kernels.sum())


def trace_kernels(
    model: nn.Module, input_shape: Shape, layers: Sequence[str] | None = None
) -> KernelMap:
    """Find the kernels of a network and what is coupled with them.

    Args:
        model: any network that torch.fx can trace; it stays as it is.
        input_shape: shape of one sample, without the batch.
        layers: names of layers or paths of convolutions and dense layers, or patterns as
            ``features.*``, to which pruning is limited.

    Raises:
        NetworkError: it cannot be traced, or has no convolution whose kernels could be pruned.
        UnknownNameError: an entry of `layers` that names no layer.
    """
    input_shape = tuple(input_shape)
    channels = find_channels(model, input_shape)
    found = [
        _layer(channels, group, convs)
        for group in range(len(channels.sizes))
        if (convs := _convs(model, channels, group))
    ]
    # Layers are named by their first convolution, which may make several groups.
    found = _named_apart(channels, found)
    if not found:
        raise NetworkError(
            f"{type(model).__name__} has no convolution and no hidden dense layer, so there are no "
            "kernels to prune; choose a convolutional network (`rfprune list models`)."
        )
    if layers is not None:
        found = _limited(found, layers)
    if all(layer.kept_because for layer in found):
        raise NetworkError(
            f"no kernel of {type(model).__name__} can be pruned; '{found[0].name}', for one: "
            f"{found[0].kept_because}."
        )
    kernels = KernelMap(tuple(found), input_shape, channels, make_formulas(model, channels))
    kernels = _with_removable(kernels)
    return replace(kernels, layers=_with_costs(kernels))


def _convs(model: nn.Module, channels: Channels, group: int) -> list[str]:
    """Return what makes a group: convolutions and hidden dense layers.

    Gates only where nothing else does, and dense layers alone only where they can be pruned.
    """
    found = [channels.operations[i] for i in channels.producers[group]]
    if group in channels.pinned and all(op.spatial == 0 for op in found):
        # The network's outputs, made by dense layers alone, are no kernels.
        return []
    return [op.path for op in found if not op.is_gate] or [op.path for op in found]


def _named_apart(channels: Channels, found: list[KernelLayer]) -> list[KernelLayer]:
    """Return the layers with different names, also where a convolution is in several."""
    n_layers = Counter(layer.name for layer in found)
    blocks = {op.path: op.blocks for op in channels.operations}
    named = []
    for layer in found:
        if n_layers[layer.name] > 1:
            first = 0
            for block in blocks[layer.name]:
                if block.group == layer.group:
                    break
                first += channels.sizes[block.group] * block.repeat
            last = first + channels.sizes[layer.group] * block.repeat - 1
            layer = replace(layer, name=f"{layer.name}.{first}-{last}")
        named.append(layer)
    return named


def _layer(channels: Channels, group: int, convs: Sequence[str]) -> KernelLayer:
    following = [
        op.path
        for op in channels.operations
        if op.kind in (ChannelKind.GROUPED, ChannelKind.NORM, ChannelKind.MIX)
        and op.path not in convs
        and group in [block.group for block in op.blocks]
    ]
    is_gate = all(op.is_gate for op in channels.operations if op.path in convs)
    return KernelLayer(
        name=convs[0],
        convs=tuple(convs),
        followers=tuple(following),
        n_kernels=channels.sizes[group],
        weights_per_kernel=0,
        macs_per_kernel=0,
        removable=False,
        kept_because="it only weighs other channels (squeeze-excite)"
        if is_gate
        else channels.pinned.get(group),
        group=group,
    )


def _limited(found: list[KernelLayer], names: Sequence[str]) -> list[KernelLayer]:
    """Return the layers; those that no pattern names keep their kernels."""
    members = [path for layer in found for path in (*layer.convs, layer.name)]
    members = list(dict.fromkeys(members))
    for name in names:
        if not any(fnmatchcase(path, name) for path in members):
            raise UnknownNameError(
                f"edge.layers: '{name}' names no convolution.{nearest(name, members)} "
                f"Known: {', '.join(members)}."
            )
    return [
        layer
        if any(fnmatchcase(p, name) for p in (*layer.convs, layer.name) for name in names)
        else replace(layer, kept_because=layer.kept_because or "not in the list of layers")
        for layer in found
    ]


def _with_removable(kernels: KernelMap) -> KernelMap:
    """Mark, in order of execution, each layer that may go as well, alone and with those before."""
    dense, gone = kernels.n_kernels, kernels.n_kernels.copy()
    removable = set()
    for i, layer in enumerate(kernels.prunable):
        # Together with those before it: two branches may each be dispensable and not both.
        alone, joint = dense.copy(), gone.copy()
        alone[i] = joint[i] = 0
        flow = kernels.flow(np.stack([alone, joint]))
        silent = [find_silencers(kernels.channels, live) is not None for live in flow.live]
        if all(silent) and flow.connected.all():
            removable.add(layer.name)
            gone = joint
    marked = (replace(layer, removable=layer.name in removable) for layer in kernels.layers)
    return replace(kernels, layers=tuple(marked))


def _with_costs(kernels: KernelMap) -> tuple[KernelLayer, ...]:
    """Fill in what one kernel of each layer takes: the difference that it makes."""
    sizes = np.array(kernels.channels.sizes, dtype=np.int64)
    less = np.tile(sizes, (len(kernels.layers), 1))
    # One kernel less in one layer each: the difference to the dense counts.
    less[np.arange(len(less)), [layer.group for layer in kernels.layers]] -= 1
    groups = np.concatenate([sizes[None], less])
    counts = kernels.formulas.evaluate(find_flow(kernels.channels, groups))
    macs, parameters = counts.total_macs, counts.total_parameters
    return tuple(
        replace(
            layer,
            weights_per_kernel=int(parameters[0] - parameters[1 + i]),
            macs_per_kernel=int(macs[0] - macs[1 + i]),
        )
        for i, layer in enumerate(kernels.layers)
    )


def _known(name: str, names: Sequence[str], layers: Sequence[KernelLayer]) -> None:
    if name in names:
        return
    kept = next((layer for layer in layers if layer.name == name), None)
    if kept is not None:
        raise UnknownNameError(f"layer '{name}' keeps its kernels: {kept.kept_because}.")
    raise UnknownNameError(
        f"no prunable layer '{name}'.{nearest(name, names)} Known: {', '.join(names)}."
    )
