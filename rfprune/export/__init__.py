"""The chosen network as a folder of its own: weights, masks, HLS project, proof, report."""

from rfprune.export.bundle import Exported, export
from rfprune.export.edge import EdgeExported, export_edge
from rfprune.export.loading import load
from rfprune.export.request import Request

__all__ = ["EdgeExported", "Exported", "Request", "export", "export_edge", "load"]
