"""The chosen network as a folder of its own, whatever it runs on."""

from rfprune.exporting.export import Exported, Request, export
from rfprune.exporting.loading import load, load_layers
from rfprune.exporting.raw_rows import taking_raw_rows

__all__ = ["Exported", "Request", "export", "load", "load_layers", "taking_raw_rows"]
