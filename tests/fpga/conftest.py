"""The small trial of the exports, which the build scripts are tried on too."""

from tests.exporting.conftest import trial

__all__ = ["trial"]
