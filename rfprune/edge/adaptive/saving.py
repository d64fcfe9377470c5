"""An adaptive model as one file: weights, masks and norms of the levels, policy, budget.

The file is one of `rfprune.models.save_checkpoint` and is read with the same care: it holds no
code, and what builds the network is never chosen by the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rfprune.core.named import one_input
from rfprune.core.value_files import to_arrays, to_tensors
from rfprune.edge.adaptive.level_table import LevelTable
from rfprune.edge.adaptive.levels import Levels
from rfprune.edge.adaptive.model import AdaptiveModel
from rfprune.edge.adaptive.policy import AgentRule, LevelPolicy, Rule, TableRule
from rfprune.edge.adaptive.slimmable import SlimmableNetwork
from rfprune.edge.kernels import Masks, trace_kernels
from rfprune.edge.kernels.saving import KEPT, rebuild
from rfprune.errors import NetworkError, SpecError
from rfprune.methods.akperl import Policy
from rfprune.models import Checkpoint, load_checkpoint, save_checkpoint
from rfprune.models.checkpoint import fitting_the_network, trusted_spec
from rfprune.models.spec import ModelSpec
from rfprune.training import norms_of

__all__ = ["FILE", "load_adaptive", "save"]

#: Name of the file in a folder of ``rfprune adapt``.
FILE = "adaptive.pt"
_KEY = "adaptive"


def save(
    path: Path, model: AdaptiveModel, spec: ModelSpec, kept: Mapping[str, int] | None = None
) -> None:
    """Write a model; the smaller levels are not in it, only what distinguishes them.

    Args:
        path: the .pt file; it is replaced if it exists.
        model: fitted levels and their policy; the hysteresis begins anew when it is read.
        spec: what the network was built from, as `rfprune.models.architecture` returns it.
        kept: kernels that were left of it, by layer, before it got levels; None = all.

    Raises:
        SpecError: the policy follows a rule of your own.
    """
    network = model.network
    kernels = network.levels.kernels
    operations = kernels.channels.operations
    n_outputs = operations[operations[-1].reads[0]].shape[0]
    values = {
        "masks": [dict(masks) for masks in network.levels.masks],
        "norms": [_norm_state(network, level) for level in range(1, len(network.levels))],
        "rule": to_tensors(_rule_values(model.policy.rule)),
        "hold": model.policy.hold,
        "power_budget_mw": model.power_budget_mw,
    }
    extra = {_KEY: values} if kept is None else {_KEY: values, KEPT: dict(kept)}
    save_checkpoint(path, network.network, spec, kernels.input_shape, n_outputs, extra)


def load_adaptive(
    path: str | Path,
    spec: ModelSpec | None = None,
    base_dir: Path | None = None,
    *,
    run_code: bool = False,
) -> AdaptiveModel:
    """Read a network with several levels, on the CPU in evaluation mode.

    Example::

        network = rfprune.load_adaptive("adaptive")
        network(torch.from_numpy(images)).shape  # (N, outputs), from the level that it picks

    Args:
        path: a folder made by ``rfprune adapt``, or the .pt file.
        spec: what the network is built from; needed only for a user's own function, which a file
            may not name.
        base_dir: folder for relative paths and modules in `spec`.
        run_code: build a network of the user's own ``package.module:function``, which the file
            names. Only for files from a source that may run code here.

    Raises:
        NetworkError: not such a file, a damaged one, or it does not fit the network.
    """
    path = Path(path)
    if path.is_dir():
        path /= FILE
    saved = load_checkpoint(path)
    values = saved.extra.get(_KEY)
    if not isinstance(values, dict):
        raise NetworkError(f"{path}: a saved network, but not one with several levels.")
    source = trusted_spec(saved, path, saved.spec if run_code and spec is None else spec)
    with fitting_the_network(path):
        network = _network(saved, values, source, base_dir)
        policy = LevelPolicy(_rule(to_arrays(values["rule"])), int(values["hold"]))
        if len(policy.rule.power_mw) != len(network.levels):
            raise NetworkError("the policy is one for another number of levels")
        return AdaptiveModel(network, policy, values["power_budget_mw"])


def _network(
    saved: Checkpoint, values: Mapping[str, Any], spec: ModelSpec, base_dir: Path | None
) -> SlimmableNetwork:
    whole = rebuild(saved, spec, base_dir)
    kernels = trace_kernels(whole, one_input(saved.input_shape, "an edge device"))
    masks = tuple(Masks(kernels, by_layer) for by_layer in values["masks"])
    network = SlimmableNetwork(whole.eval(), Levels(kernels, masks))
    for level, state in enumerate(values["norms"], start=1):
        expected = _norm_state(network, level)
        if expected.keys() != state.keys():
            raise NetworkError(f"the batch norms of level {level} are others")
        # Not strict: all but the norms has been cut from the shared weights.
        network.at(level).load_state_dict(state, strict=False)
    return network


def _norm_state(network: SlimmableNetwork, level: int) -> dict[str, Tensor]:
    """Return the tensors of a level that are its own."""
    part = network.at(level)
    norms = tuple(f"{path}." for path in norms_of(part))
    return {
        name: tensor.cpu() for name, tensor in part.state_dict().items() if name.startswith(norms)
    }


def _rule_values(rule: Rule) -> dict[str, Any]:
    if isinstance(rule, TableRule):
        return {"table": dict(vars(rule.table)), "least_accuracy": rule.least_accuracy}
    if isinstance(rule, AgentRule):
        values = {"fractions": rule.fractions, "power_mw": rule.power_mw}
        return {"agent": rule.agent.as_values(), **values}
    raise SpecError(
        f"a policy with the rule {type(rule).__name__} cannot be saved; a TableRule or AgentRule "
        "can."
    )


def _rule(values: dict[str, Any]) -> Rule:
    if "agent" in values:
        agent = Policy.from_values(values["agent"])
        return AgentRule(agent, values["fractions"], values["power_mw"])
    table = values["table"]
    for name in ("conditions", "statistics"):
        table[name] = tuple(table[name])
    return TableRule(LevelTable(**table), values["least_accuracy"])
