"""The chosen network as a folder of its own: weights, masks, HLS project, proof, report."""

from rfprune.export.bundle import Exported, Request, export
from rfprune.export.loading import load

__all__ = ["Exported", "Request", "export", "load"]
