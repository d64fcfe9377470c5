"""Networks by name, from the user's own function, or from a saved file.

`build` turns the ``model:`` section of a sweep or trial file (`ModelSpec`) into a
``torch.nn.Module`` with one output per class or number. The table `MODELS` holds networks made only
of layers that hls4ml's PyTorch front end takes (`rfprune.models.networks`), and residual and
depthwise networks for edge devices, which it does not take (`rfprune.models.image_networks`). To
add one: a function there and its row in `MODELS` (other packages: an entry point of the group
``rfprune.model``).

This package knows nothing of data, hardware or training. Importing it does not import torch.
"""

from __future__ import annotations

from rfprune.models.building import architecture, build
from rfprune.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rfprune.models.named_models import MODELS
from rfprune.models.spec import ModelSpec

__all__ = [
    "MODELS",
    "Checkpoint",
    "ModelSpec",
    "architecture",
    "build",
    "load_checkpoint",
    "save_checkpoint",
]
