"""onnxruntime, without the statistics of use that it gathers and sends."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["onnx_runtime"]


def onnx_runtime() -> Any:
    """Import and return onnxruntime; a choice that the user has made about statistics is kept.

    It reads the variable when it is imported. Without it a number of the device and a database of
    events are written to the user's cache.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
