"""What a network runs on, as a trial sees it: a `Target` deploys it, as a `Deployment`.

The rows are in `rfprune.spec.targets`, by the section of the file; the targets themselves are found
by name when they are needed, so that nothing here depends on any of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from rfprune.core.named import InputShape
from rfprune.core.registry import resolve
from rfprune.core.tables import Column
from rfprune.methods import Method
from rfprune.models import Checkpoint, build
from rfprune.pruning import Masks, Prunable, Session
from rfprune.results import StepRecord
from rfprune.spec import TargetFacts, TrialSpec
from rfprune.trial.proof import Asked, Proof, torch_path

if TYPE_CHECKING:
    from rfprune.trial.prepare import Prepared

__all__ = [
    "NUMBER_ROWS",
    "Bundle",
    "Deployment",
    "ExportedParts",
    "LayerTable",
    "Measured",
    "Target",
    "ToolRow",
    "target_of",
]

#: Training rows on which the numbers of a network are compared with its types.
NUMBER_ROWS = 1024

#: Called with one line per stage that begins.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What a network is on its target at one step.

    Attributes:
        quantities: of the target, by name; None = not known.
        live: multipliers, or kernels, that are left, by layer.
        groups: those of the dense network, by layer.
        costs: by layer, as plain JSON values.
        reuse_factor: by layer, of an FPGA.
        strategy: by layer, of an FPGA.
    """

    quantities: dict[str, float | None]
    live: dict[str, int]
    groups: dict[str, int]
    costs: dict[str, Any]
    reuse_factor: dict[str, int] = field(default_factory=dict)
    strategy: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerTable:
    """What ``rfprune check`` shows of the layers.

    Attributes:
        key: key of the rows in its JSON object.
        rows: one object per layer.
        title: of the table.
        caption: below it.
        columns: of the table.
    """

    key: str
    rows: list[dict[str, Any]]
    title: str
    caption: str
    columns: Sequence[Column]


@dataclass(frozen=True)
class ToolRow:
    """An optional tool: where it was found, or None."""

    name: str
    found: str | None
    purpose: str


@dataclass(frozen=True)
class Bundle:
    """An export that is being written.

    Attributes:
        folder: that becomes the export.
        trial: the trial's run folder.
        prepared: the trial.
        model: the whole network at the step, in eval mode on the CPU.
        final: the network that is exported.
        masks: what is left.
        record: of the step.
        rows: test rows for a simulation; None = by network, 0 = none.
        force: export although the simulation disagrees.
        say: called with one line per stage that begins.
        folded: layers that took the scaling of the inputs into their weights; the rows of
            `prepared` are raw then.
    """

    folder: Path
    trial: Path
    prepared: Prepared
    model: nn.Module
    final: nn.Module
    masks: Masks
    record: StepRecord
    rows: int | None
    force: bool
    say: Say
    folded: Sequence[str] = ()


@dataclass(frozen=True)
class ExportedParts:
    """What a target has written into an export, in words.

    Attributes:
        facts: what a user should see, one sentence each.
        summary: further lines at the top of the report.
        report: the report's sections, as Markdown.
        masks: of the weights or kernels, for ``masks.npz``.
        saved: what ``model.pt`` holds besides the network.
        estimate: ``estimate.json``.
        proof: what was compared and counted on the way.
    """

    facts: list[str]
    summary: list[str]
    report: str
    masks: Masks
    saved: dict[str, Any]
    estimate: dict[str, Any]
    proof: Proof = field(default_factory=Proof)


class Deployment(ABC):
    """A network on its target, before anything is trained.

    Attributes:
        device: name of the part or device.
        prunable: what can be pruned of it, and what it costs.
    """

    device: str
    prunable: Prunable

    @abstractmethod
    def notes(self) -> list[str]:
        """Return what the user should know before training, one sentence each."""

    def arrange(self, model: nn.Module) -> None:  # noqa: B027
        """Rearrange the dense network in place for pruning, without changing its output."""

    def check_called(self, model: nn.Module, x: Any) -> None:  # noqa: B027
        """Refuse an untrained network that computes something else than what would be built.

        Args:
            model: the network.
            x: a few rows.

        Raises:
            NetworkError: in one sentence.
        """

    def rehearse(self, model: nn.Module, x: Any) -> list[str]:
        """Build the untrained network, and return what was found, one sentence each.

        Raises:
            NetworkError: building would fail after the training.
        """
        return []

    def number_table(self, model: nn.Module, rows: Any, trained: bool) -> LayerTable | None:
        """Return how the numbers of a network on rows go with its types; None if it has none."""
        return None

    def number_notes(self, model: nn.Module, rows: Any, trained: bool) -> list[str]:
        """Return one sentence per type that is too narrow for a dense network on rows.

        Args:
            model: the dense network.
            rows: of the training data.
            trained: whether its weights are those that will be pruned.
        """
        return []

    @abstractmethod
    def dense_quantities(self, model: nn.Module) -> dict[str, float | None]:
        """Return what the dense network takes, by quantity, without building anything."""

    def share(self, quantity: str, value: float) -> float | None:
        """Return the fraction of the target that a value takes up, or None if it is not limited."""
        return None

    @abstractmethod
    def layer_table(self) -> LayerTable:
        """Return what ``rfprune check`` shows of the layers."""

    @abstractmethod
    def measure(self, session: Session, scratch: Path) -> Measured:
        """Return what the session's network is on the target now.

        Args:
            session: the pruning run.
            scratch: folder for temporary files.

        Raises:
            WorkError: it could not be measured.
        """

    def measure_moved(self, session: Session, scratch: Path) -> Measured:
        """Return what `measure` does, of a network that was measured in the same numbers before.

        Only where it runs has changed: what a target has checked of it then need not be done again.
        """
        return self.measure(session, scratch)

    def measured_in_its_numbers(self, record: StepRecord) -> bool:
        """Return whether a step's scores are those of the target's own numbers.

        Version 0.1 measured in floats unless it trained through the rounding.
        """
        return any(name.startswith("float_val_") for name in record.values)

    @abstractmethod
    def final(self, model: nn.Module, masks: Masks) -> nn.Module:
        """Return the network that is exported for the whole one and what is left of it."""

    @abstractmethod
    def export(self, bundle: Bundle) -> ExportedParts:
        """Write what only this target has into an export.

        Raises:
            WorkError: what was built is not the network.
        """


class Target(ABC):
    """One kind of thing that networks run on; see `rfprune.spec.targets`."""

    facts: TargetFacts

    @abstractmethod
    def check(self, spec: TrialSpec, base_dir: Path) -> None:
        """Refuse names in the file that are in no table and no module, and missing packages.

        Raises:
            UnknownNameError: names the key and the nearest known name.
            MissingExtraError: what the trial needs is not installed.
        """

    @abstractmethod
    def deploy(
        self,
        spec: TrialSpec,
        method: Method,
        model: nn.Module,
        input_shape: InputShape,
        base_dir: Path,
    ) -> Deployment:
        """Return an untrained network on the target.

        Raises:
            InputError: network and target do not go together, in one sentence.
        """

    def layer_sizes(
        self, spec: TrialSpec, model: nn.Module, input_shape: InputShape, searched: set[str]
    ) -> dict[str, tuple[int, int, int | None]]:
        """Return what decides the values that a layer's settings can have, by layer.

        Args:
            spec: the trial that a sweep starts from.
            model: its network, untrained.
            input_shape: of one sample.
            searched: dotted paths that the sweep searches.
        """
        return {}

    def decides_types(self, path: str) -> bool:
        """Return whether a searched path says in which type something is computed."""
        return False

    def check_searched(  # noqa: B027
        self, spec: TrialSpec, searched: Mapping[str, Sequence[Any]]
    ) -> None:
        """Refuse searched paths or values that would otherwise fail in the middle of a sweep.

        Args:
            spec: the trial that the sweep starts from.
            searched: values that stand for others, by dotted path.

        Raises:
            SpecError: names the path.
        """

    def tools(self) -> list[ToolRow]:
        """Return the optional tools that trials can use."""
        return []

    def certify(self, folder: Path, model: nn.Module, asked: Asked) -> Proof:
        """Compare and count once more what an exported folder holds.

        Args:
            folder: made by ``rfprune export``.
            model: its network, which takes scaled rows.
            asked: how much is compared.

        Raises:
            RfpruneError: something in the folder cannot be read, built or run; names the place.
        """
        return Proof(paths=[torch_path(model, "float32")])

    def load(self, saved: Checkpoint, path: Path, base_dir: Path) -> nn.Module | None:
        """Return the network of an exported file in eval mode; None if it is of another target.

        Args:
            saved: content of the file.
            path: the file.
            base_dir: folder for relative paths and modules in what it was built from.

        Raises:
            NetworkError: it is damaged.
        """
        model = build(saved.spec, saved.input_shape, saved.n_outputs, base_dir)
        model.load_state_dict(saved.state_dict)
        return model.eval()


def target_of(spec: TrialSpec) -> Target:
    """Return the target that a trial's file names."""
    found = resolve(spec.target.target)
    assert isinstance(found, Target)
    return found
