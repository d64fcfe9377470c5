"""One point of a sweep, or one step of a trial: a network that can be used and exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rfprune.core.notebooks import for_notebooks
from rfprune.core.own_code import allowing_code
from rfprune.core.registry import nearest
from rfprune.errors import UnknownNameError
from rfprune.results import Candidate, Front, layers_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from rfprune.exporting import Exported
    from rfprune.fpga.estimators import Estimate
    from rfprune.trial import Restored

__all__ = ["Point"]

_PICTURES = ("front", "layers", "groups")


class Point:
    """An accepted pruning step: a network, what it scores and what it costs.

    Made by `Sweep.best` and `Sweep.point`; in a notebook it shows its values.

    Example::

        point = rfprune.open("mine").best(where="dsp<=150", max="val_accuracy")
        point.trial, point.step, point.on_front, point.folder
        point.params, point.metrics["dsp"]
        network = point.model()  # torch, pruned weights are exactly 0
        point.masks()["fc1"].mean()  # what stayed of a layer
        point.estimate().total.dsp
        point.plot("groups", layer="fc1")
        point.export("chosen", rows=50)  # HLS project, C++ compared with torch, report

    Attributes:
        explanation: why it was chosen, in one or two sentences; empty if it was named.
    """

    def __init__(self, front: Front, candidate: Candidate, explanation: str = "") -> None:
        self._front, self._candidate = front, candidate
        self.explanation = explanation

    @property
    def trial(self) -> int:
        """Number of its trial."""
        return self._candidate.trial

    @property
    def step(self) -> int:
        """Number of its pruning step; 0 is the dense network."""
        return self._candidate.step

    @property
    def params(self) -> Mapping[str, Any]:
        """The searched values of its trial, by dotted path."""
        return dict(self._candidate.params)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every quantity by its name, e.g. ``val_accuracy``, ``dsp``; None where unknown.

        Counts are of the whole design; units are in the names (``latency_ns``, ``power_mw``).
        """
        return dict(self._candidate.metrics)

    @property
    def on_front(self) -> bool:
        """Whether no other point of the sweep is as good in every objective and better in one."""
        return self._candidate in self._front.points

    @property
    def folder(self) -> Path:
        """The run folder of its trial."""
        return self._front.view.folder.trial(self.trial).path

    def model(self, *, scaled: bool = False, run_code: bool = False) -> nn.Module:
        """Return the network in eval mode; pruned weights are exactly 0.

        It takes rows (N, ...) as the data have them, and puts out (N, outputs), as
        `rfprune.load` does of an export.

        Args:
            scaled: without the scaling of its inputs: takes rows that are standardised already.
            run_code: import functions that a run folder from elsewhere names.

        Raises:
            RunsError: its checkpoint is gone or damaged, or needs `run_code`.
        """
        from rfprune.exporting import taking_raw_rows

        restored = self._restored(run_code)
        prepared = restored.prepared
        final = prepared.deployment.final(restored.model, restored.masks).eval()
        return final if scaled else taking_raw_rows(final, prepared.data.scaling).eval()

    def masks(self, *, run_code: bool = False) -> dict[str, Any]:
        """Return what stayed, by layer: arrays of 0 and 1 in the shape of torch's weights.

        On a processor, one number per kernel. All ones for the dense network.

        Args:
            run_code: import functions that a run folder from elsewhere names.

        Raises:
            RunsError: its checkpoint is gone or damaged, or needs `run_code`.
        """
        restored = self._restored(run_code)
        prunable = restored.prepared.deployment.prunable
        whole = prunable.masks(prunable.kept(None))
        return {name: m.cpu().numpy() for name, m in {**whole, **restored.masks}.items()}

    def export(
        self,
        out: str | Path,
        *,
        rows: int | None = None,
        force: bool = False,
        fold_scaling: bool = False,
        register: str | None = None,
        run_code: bool = False,
    ) -> Exported:
        """Write the network as a folder of its own; as ``rfprune export`` does.

        The C++ that hls4ml makes of it is compiled and compared with torch.

        Args:
            out: the folder to create; must be new or empty.
            rows: test rows for the C++ simulation; 0 skips it; default: 1000, or 100 with
                convolutions.
            force: export even if the C++ disagrees with torch.
            fold_scaling: put the scaling of the inputs into the first layer.
            register: name in MLflow's model registry.
            run_code: import functions that a run folder from elsewhere names.

        Returns:
            The folder (``out``), and what a user should see of it (``facts``).

        Raises:
            RunsError: the folder is in use, or the checkpoint is gone or damaged.
            WorkError: the C++ disagrees with torch.
        """
        from rfprune.exporting import Request, export
        from rfprune.results import front_png
        from rfprune.tracking import check_model_name, load_config, register_model

        if register is not None:
            check_model_name(register)  # now: the export takes minutes
        config = None if register is None else load_config()
        trial = self._front.view.folder.trial(self.trial)
        picture = front_png(self._front, self._candidate)
        with allowing_code(run_code):
            request = Request(
                trial, self.step, Path(out), self.explanation, picture, rows, force, fold_scaling
            )
            exported = export(request)
        if register is not None and config is not None:
            register_model(exported.out, register, config, run_code=True)
        return exported

    def estimate(self, by: str = "analytic", *, run_code: bool = False) -> Estimate:
        """Return resources (counts) and latency (cycles) with intervals, layer by layer.

        Args:
            by: name of the estimator; see `rfprune list estimators`.
            run_code: import functions that a run folder from elsewhere names.

        Raises:
            RunsError: it is not for an FPGA, or its checkpoint is gone.
        """
        from rfprune.fpga.estimating import estimate_folder

        with allowing_code(run_code):
            return estimate_folder(self.folder, by, self.step, run_code)[0]

    def plot(
        self,
        kind: Literal["front", "layers", "groups"] = "front",
        *,
        layer: str | None = None,
        run_code: bool = False,
    ) -> Figure:
        """Return a picture of it as a matplotlib figure.

        Args:
            kind: ``front``: the sweep's front with the point marked; ``layers``: the score over
                what was left of each layer, step by step; ``groups``: the weights of one layer, in
                a colour per hardware group, white where pruned.
            layer: for ``groups``; the first one if not given.
            run_code: import functions that a run folder from elsewhere names.

        Raises:
            UnknownNameError: no such picture or layer.
        """
        from rfprune.results import front_figure

        if kind == "front":
            return for_notebooks(front_figure(self._front, self._candidate))
        if kind == "layers":
            return for_notebooks(layers_figure(self._front, self._candidate))
        if kind == "groups":
            from rfprune.api.group_picture import groups_figure

            return for_notebooks(groups_figure(self._restored(run_code), layer))
        raise UnknownNameError(
            f"plot: unknown picture '{kind}'.{nearest(kind, _PICTURES)} "
            f"Known: {', '.join(_PICTURES)}."
        )

    def _restored(self, run_code: bool) -> Restored:
        from rfprune.trial import restore

        with allowing_code(run_code):
            return restore(self._front.view.folder.trial(self.trial), self.step)

    def __repr__(self) -> str:
        names = [*self._front.view.objectives]
        shown = ", ".join(
            f"{name}={value:.6g}" for name in names if (value := self.metrics.get(name)) is not None
        )
        return f"Point(trial={self.trial}, step={self.step}, {shown})"

    def _repr_html_(self) -> str:
        from html import escape

        from rfprune.api.frames import points_frame

        table = points_frame(self._front, [self._candidate]).T.to_html(header=False)
        return f"<p>{escape(self.explanation)}</p>{table}" if self.explanation else table
