"""The joint between a running sweep and MLflow: tells the tracker which trials have ended."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rfprune.runs import SweepFolder
    from rfprune.search.progress import SweepEvent
    from rfprune.tracking import Tracker, TrackerReport

__all__ = ["Tracking"]


class Tracking:
    """Feeds ended trials to MLflow in the background; a fault there never reaches the sweep."""

    def __init__(self, folder: SweepFolder, active: bool) -> None:
        self._folder, self._active = folder, active
        self._tracker: Tracker | None = None

    def __enter__(self) -> Self:
        from rfprune.tracking import Tracker, load_config

        if self._active and (config := load_config()).enabled:
            self._tracker = Tracker(self._folder, config)
        return self

    def __call__(self, event: SweepEvent) -> None:
        """Take note of one event of the sweep."""
        if self._tracker is not None and event.kind in ("complete", "stopped", "failed"):
            self._tracker.trial_finished(event.trial)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Wrong input leaves nothing to write, and must not wait for a tracking server.
        if self._tracker is not None and self._folder.path.exists() and kind is None:
            self._tell(self._tracker.close())

    def _tell(self, report: TrackerReport) -> None:
        from rfprune.cli.common import note, stderr

        if report.missing:
            reason = f" ({report.error})" if report.error else ""
            note(
                f"{len(report.missing)} trials are not in MLflow yet{reason}. "
                f"To write them: rfprune track {self._folder.path.name}",
                stderr(),
            )
