"""Connects a running sweep with MLflow: reports to the tracker which trials have ended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rfprune.core.paths import runs_option

if TYPE_CHECKING:
    from rfprune.results import SweepFolder
    from rfprune.study.events import SweepEvent
    from rfprune.tracking import Tracker

__all__ = ["Tracking"]


class Tracking:
    """Feeds trials that have ended to MLflow; a failure there never reaches the sweep."""

    def __init__(
        self, folder: SweepFolder, active: bool, note: Callable[[str], None] | None = None
    ) -> None:
        self._folder, self._active, self._note = folder, active, note or _to_stderr
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
        if self._tracker is None or not self._folder.path.exists():
            return
        if kind is not None and not (self._tracker.begun and issubclass(kind, Exception)):
            return
        report = self._tracker.close()
        if report.missing or not report.closed:
            reason = f" ({report.error})" if report.error else ""
            what = "The front and the end of the sweep are" if not report.missing else ""
            what = what or f"{len(report.missing)} trials are"
            named = f"{self._folder.path.name}{runs_option(self._folder.path.parent)}"
            self._note(
                f"{what} not in MLflow yet{reason}. To write what is missing: rfprune track {named}"
            )


def _to_stderr(text: str) -> None:
    print(f"Note: {text}", file=sys.stderr)
