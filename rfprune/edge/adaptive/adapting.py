"""From a finished trial or an exported network to one network with several levels, in a folder.

::

    DIR/
        adaptive.pt     the network, its levels and the policy that picks one
        report.md       accuracy and power of every level under every condition

and with ``--onnx`` what `rfprune.edge.adaptive.device_files` writes.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from torch import nn

from rfprune.core.files import read_json
from rfprune.core.named import one_input
from rfprune.core.own_code import check_code
from rfprune.core.registry import nearest
from rfprune.data import Dataset, load
from rfprune.edge.adaptive.device_files import write_device_files
from rfprune.edge.adaptive.fitting import fit_levels
from rfprune.edge.adaptive.level_table import LevelTable, LevelTask, measure_levels
from rfprune.edge.adaptive.levels import Levels, make_levels
from rfprune.edge.adaptive.model import AdaptiveModel
from rfprune.edge.adaptive.policy import LevelPolicy, Rule, TableRule, agent_rule
from rfprune.edge.adaptive.saving import FILE
from rfprune.edge.adaptive.slimmable import SlimmableNetwork
from rfprune.edge.conditions import under_conditions
from rfprune.edge.costs import EdgeCosts
from rfprune.edge.kernels import KernelMap, trace_kernels
from rfprune.edge.kernels.saving import KEPT, rebuild
from rfprune.edge.metering import find_counter
from rfprune.edge.monitor import DeviceProfile, Reading, Readings, find_device, measure_inference
from rfprune.errors import NetworkError, RunsError, SpecError, UnknownNameError
from rfprune.exporting.folder import new_folder
from rfprune.exporting.folding import fold_scaling
from rfprune.methods.akperl import learn, make_reward
from rfprune.models import architecture, load_checkpoint
from rfprune.models.spec import ModelSpec
from rfprune.results import SweepFolder, TrialFolder
from rfprune.spec import EdgeSpec, TrialSpec
from rfprune.spec.edge import MeterSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.tasks import Task, make_task
from rfprune.training import Fit, select_device
from rfprune.trial.checkpoints import load_step
from rfprune.trial.dense import new_model, to_device

__all__ = [
    "POLICIES",
    "Adaptable",
    "Adapted",
    "PolicyName",
    "adapt",
    "base_of_export",
    "base_of_sweep",
    "base_of_trial",
]

PolicyName = Literal["table", "agent"]
#: What can pick a level for a batch.
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
#: Of the noise under which levels are measured.
_NOISE_SEED = 1


@dataclass(frozen=True)
class Adaptable:
    """A trained network that is to get levels.

    Attributes:
        what: where it comes from, for people.
        network: on the CPU, in evaluation mode.
        spec: its trial, which has the section `edge`.
        data: its rows.
        task: what it is for.
        device: that it is for.
        origin: what the network is built from.
        kept: kernels that are left of it, by layer; None = it is whole.
    """

    what: str
    network: nn.Module
    spec: TrialSpec
    data: Dataset
    task: Task
    device: DeviceProfile
    origin: ModelSpec
    kept: dict[str, int] | None = None

    @property
    def edge(self) -> EdgeSpec:
        """The device's section of the trial."""
        assert self.spec.edge is not None
        return self.spec.edge


@dataclass(frozen=True)
class Adapted:
    """What was written.

    Attributes:
        out: the folder.
        levels: of the network.
        validation: what the policy knows, measured on validation rows.
        test: the same on test rows, which decide nothing.
        rule: what picks a level.
        task: of the network.
    """

    out: Path
    levels: Levels
    validation: LevelTable
    test: LevelTable
    rule: Rule
    task: Task


def base_of_trial(trial: TrialFolder) -> Adaptable:
    """Return the trained dense network of a trial for an edge device.

    Raises:
        SpecError: the trial is for an FPGA.
        RunsError: the trial has no trained network yet, or its checkpoint is damaged.
    """
    spec, base_dir = trial.spec(), trial.base_dir()
    # Before any code of the trial is imported.
    check_code(trial.home, base_dir, spec.canonical())
    device = _device(spec, trial.path, base_dir)
    path = trial.checkpoint(0)
    if not path.exists():
        raise RunsError(f"{trial.path}: has no trained dense network yet ({path.name} is missing).")
    task = make_task(spec.task, base_dir)
    data = load(spec.data, base_dir, task)
    network = new_model(spec, data, base_dir)
    load_step(path, network)
    what = f"the dense network of {trial.path}"
    origin = architecture(spec.model, base_dir)
    return Adaptable(what, network.eval(), spec, data, task.bound_to(network), device, origin)


def base_of_sweep(sweep: SweepFolder) -> Adaptable:
    """Return the dense network of the best validation score among the trials of a sweep.

    Raises:
        SpecError: the sweep is for an FPGA.
        RunsError: no trial has a trained network yet.
    """
    found = []
    for trial in sweep.trials():
        if trial.checkpoint(0).exists() and (steps := trial.steps()):
            spec = trial.spec()
            check_code(trial.home, trial.base_dir(), spec.canonical())
            score = steps[0].values.get(spec.task.score_name)
            if score is not None:
                # By merit, which is the same way round for every score.
                found.append((make_task(spec.task, trial.base_dir()).merit(score), trial))
    if not found:
        raise RunsError(f"{sweep.path}: no trial has a trained dense network yet.")
    return base_of_trial(max(found, key=lambda pair: pair[0])[1])


def base_of_export(folder: Path) -> Adaptable:
    """Return the smaller network in a folder that ``rfprune export`` made for an edge device.

    Raises:
        SpecError: the export is for an FPGA.
        RunsError: the folder is incomplete.
        NetworkError: its network is damaged, or built by a user's own function.
    """
    path = folder / "spec.json"
    spec = parse_spec(TrialSpec, read_json(path), str(path))
    device = _device(spec, folder, Path())
    assert spec.edge is not None
    if isinstance(spec.edge.meter, MeterSpec) and spec.edge.meter.command is not None:
        # A file that came from elsewhere must not decide what is run here.
        spec = spec.model_copy(update={"edge": spec.edge.model_copy(update={"meter": "auto"})})
    saved = load_checkpoint(folder / "model.pt")
    if saved.spec.is_function:
        raise NetworkError(
            f"{folder}: its network is built by '{saved.spec.name}', and a file must not decide "
            "what code is run. Adapt the sweep or trial that it comes from instead."
        )
    task = make_task(spec.task)
    data = load(spec.data, Path(), task)
    network = rebuild(saved, saved.spec).eval()
    scaling = folder / "scaling.json"
    if scaling.exists() and read_json(scaling).get("folded_into"):
        # Levels are trained on scaled rows: the first layers give back what the export folded in.
        fold_scaling(network, data.scaling.undone())
    what = f"the exported network in {folder}"
    bound = task.bound_to(network)
    return Adaptable(what, network, spec, data, bound, device, saved.spec, saved.extra.get(KEPT))


def _device(spec: TrialSpec, source: Path, base_dir: Path) -> DeviceProfile:
    if spec.edge is None:
        raise SpecError(
            f"{source}: is for an FPGA. Allowed: a sweep, trial or export for an edge device (its "
            "file has the section 'edge')."
        )
    return find_device(spec.edge.device, base_dir)


def adapt(
    base: Adaptable,
    out: Path,
    fractions: Sequence[float | Mapping[str, float]] | None = None,
    epochs: int | None = None,
    policy: PolicyName = "table",
    onnx: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Adapted:
    """Give a network levels, fit them together, measure them, and write the folder.

    Args:
        base: the network.
        out: folder to make; new or empty.
        fractions: (A,) of the kernels of each layer that a level prunes, rising from 0, or by name
            or pattern of layers (others keep all); None = those of ``edge.levels`` below 1.
        epochs: of the fit; None = ``train.epochs``.
        policy: what picks a level: the measured table, or an agent that learned on it.
        onnx: also write every level as ONNX, with a runner that needs no torch.
        say: called with one line per stage.

    Raises:
        RunsError: the folder is in use, or cannot be written.
        SpecError: levels that do not rise from 0, or rewards of single layers for the agent.
        TrialError: the loss is not finite.
    """
    spec, edge, task = base.spec, base.edge, base.task
    if policy == "agent":
        # A wrong reward must not be found only after the fit, which takes the longest.
        make_reward(spec.prune.agent.reward, LevelTask.layers)
    with new_folder(out) as folder:
        device = select_device(spec.train.device)
        data, network = to_device(base.data, device), base.network.to(device)
        kernels = trace_kernels(network, one_input(data.input_shape, "an edge device"), edge.layers)
        costs = _costs(base, kernels)
        wanted = fractions or [level for level in edge.levels if level < 1]
        levels = make_levels(network, kernels, [_by_layer(spec, kernels, f) for f in wanted])
        slimmable = SlimmableNetwork(network, levels)
        say(f"fitting {len(levels)} levels together")
        how = replace(_fit(spec, task, epochs), weight=data.w_train)
        fit_levels(slimmable, data.x_train, data.y_train, how)
        say("measuring the levels")
        # In training mode levels compute with slices; what is measured is what will run.
        slimmable.eval()
        readings = _readings(base, slimmable, data, costs)
        validation, test = _measure(base, slimmable, data, [found.power for found in readings])
        rule: Rule = TableRule(validation, least := _least(base, validation))
        if policy == "agent":
            say("an agent learns which level to take")
            agent = learn(LevelTask(validation, levels.sparsity), spec.prune.agent, spec.seed)
            rule = agent_rule(agent, levels, validation.power_mw)
        if onnx:
            say("writing every level as ONNX")
            x = under_conditions(data.x_val[:], data, edge.conditions, _NOISE_SEED)
            write_device_files(folder, slimmable, validation, readings, x, data, task, least)
        AdaptiveModel(slimmable, LevelPolicy(rule)).save(folder / FILE, base.origin, base.kept)
        adapted = Adapted(out, levels, validation, test, rule, task)
        report = "\n".join((*_report(base, adapted, costs, how.epochs), ""))
        (folder / "report.md").write_text(report, encoding="utf-8")
    return adapted


def _fit(spec: TrialSpec, task: Task, epochs: int | None) -> Fit:
    # The network is trained already, so that the rate of fine-tuning suits it.
    rate = spec.prune.learning_rate or spec.train.learning_rate
    return Fit(epochs or spec.train.epochs, rate, spec.train, spec.seed, task=task)


def _least(base: Adaptable, validation: LevelTable) -> float:
    """Return what is good enough: what the file tolerates of a pruning step, of a level."""
    prune, score = base.spec.prune, base.task.merit(float(validation.accuracy[0, 0]))
    return base.task.merit(base.task.bound(score, prune.tolerance, prune.tolerance_absolute))


def _costs(base: Adaptable, kernels: KernelMap) -> EdgeCosts:
    """Return the costs at the rate of the images.

    Without a rate images follow each other, and every level draws about the same power for another
    time. Then they are taken to come as fast as the device can compute the whole network at most.
    """
    costs = EdgeCosts(kernels, base.device, base.edge)
    if base.edge.images_per_second is not None:
        return costs
    # Images back to back: as fast as the whole network takes them.
    rate = 1 / costs.readings(kernels.n_kernels).time.value
    return EdgeCosts(kernels, base.device, base.edge.model_copy(update={"images_per_second": rate}))


def _by_layer(
    spec: TrialSpec, kernels: KernelMap, level: float | Mapping[str, float]
) -> dict[str, float]:
    """Return the fraction that a level prunes of each layer: none below its floor.

    Raises:
        UnknownNameError: a pattern that names no layer.
    """
    names = [layer.name for layer in kernels.prunable]
    by_pattern = level if isinstance(level, Mapping) else {"*": level}
    for pattern in by_pattern:
        if not fnmatch.filter(names, pattern):
            raise UnknownNameError(
                f"levels: '{pattern}' names no layer that can be pruned.{nearest(pattern, names)} "
                f"Known: {', '.join(names)}."
            )
    chosen = {}
    for layer in kernels.prunable:
        # The last pattern that fits decides, so that an exception can follow a rule.
        fits = [f for pattern, f in by_pattern.items() if fnmatch.fnmatchcase(layer.name, pattern)]
        own = spec.prune.layer(layer.name)
        assert own.floor is not None
        # A floor is a number of kernels; here it is the largest fraction that leaves so many.
        most = 1 - min(own.floor, layer.n_kernels) / layer.n_kernels
        chosen[layer.name] = min(fits[-1], most) if fits and own.prune else 0.0
    return chosen


def _readings(
    base: Adaptable, network: SlimmableNetwork, data: Dataset, costs: EdgeCosts
) -> list[Readings]:
    """Return what an image takes at each level."""
    batch, found = data.x_val[: base.edge.batch_size], []
    for level, masks in enumerate(network.levels.masks):
        readings = costs.readings(masks.kept)
        # Power is measured where the trial measures its time: on this machine.
        if costs.spec.time == "measured":
            rate = costs.spec.images_per_second
            counter = find_counter(costs.spec, batch.is_cuda)
            readings = measure_inference(network.at(level), batch, readings, rate, counter=counter)
        found.append(readings)
    return found


def _measure(
    base: Adaptable, network: SlimmableNetwork, data: Dataset, power: Sequence[Reading]
) -> tuple[LevelTable, LevelTable]:
    """Return what each level achieves and draws, on validation rows and on test rows.

    Test rows are only reported: what the policy knows comes from validation rows alone.
    """
    validation, test = (
        under_conditions(x[:], data, base.edge.conditions, _NOISE_SEED)
        for x in (data.x_val, data.x_test)
    )
    return (
        measure_levels(network, validation, data.y_val, power, base.task, data.w_val),
        measure_levels(network, test, data.y_test, power, base.task, data.w_test),
    )


def _report(base: Adaptable, adapted: Adapted, costs: EdgeCosts, epochs: int) -> Iterator[str]:
    """Yield the lines of the report."""
    levels, table = adapted.levels, adapted.validation
    yield f"# {base.spec.model.name} on {base.device.name}: one network, {len(levels)} levels"
    yield ""
    if isinstance(adapted.rule, TableRule):
        least = adapted.rule.least_accuracy
        assert least is not None
        picks = (
            "the policy takes the level of least power, within the power budget, whose validation "
            f"{base.task.score} is at least as good as {base.task.merit(least):.4f} under the "
            "nearest condition of the input, or the best one if none is."
        )
    else:
        # What it wants is asked of the rule itself, so the report cannot contradict the file.
        wanted = ", ".join(
            f"{name} {adapted.rule.wanted(features, None)}"
            for name, features in zip(table.conditions, table.mean, strict=True)
        )
        picks = (
            "the policy takes the level, within the power budget, that is nearest to what an agent "
            f"wants that learned on the validation table. Without a budget: {wanted}."
        )
    yield (
        f"Level 0 is {base.what}. All levels share its weights and were fitted together for "
        f"{epochs} epochs. For every batch {picks}"
    )
    yield ""
    yield (f"Power at {costs.spec.images_per_second:.4g} images per second; {table.power_source}.")
    macs = levels.counts.total_macs
    for title, measured in (("Validation", table), ("Test", adapted.test)):
        yield f"\n## {title} {base.task.score}\n"
        yield f"| level | kernels pruned | million MACs | mW | {' | '.join(table.conditions)} |"
        yield "|" + "---|" * (4 + len(table.conditions))
        for level, pruned in enumerate(levels.sparsity):
            accuracies = " | ".join(
                f"{base.task.merit(value):.4f}" for value in measured.accuracy[:, level]
            )
            yield (
                f"| {level} | {pruned:.1%} | {macs[level] / 1e6:.4g} | "
                f"{table.power_mw[level]:.4g} | {accuracies} |"
            )
    yield "\n## How to use\n"
    yield "```python\nimport rfprune\n"
    yield 'model = rfprune.load_adaptive(".")'
    yield f"model.power_budget_mw = {float(table.power_mw[-2:].mean()):.4g}  # at any time"
    yield "outputs = model(batch)  # model.level says which level computed them\n```"
