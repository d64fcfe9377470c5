"""The ``model:`` section of a sweep or trial file."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rfprune.core.paths import NamesFile
from rfprune.models.named_models import MODELS

__all__ = ["FILE_SUFFIXES", "ModelSpec"]

FILE_SUFFIXES = (".pt", ".pth")


class ModelSpec(BaseModel):
    """Which network: a name, a function or a saved file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, NamesFile(FILE_SUFFIXES)] = Field(
        description="a named network (see `rfprune list models`), package.module:function, or the "
        "path of a .pt file that rfprune saved"
    )
    args: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the network's function"
    )
    weights: Annotated[str | None, NamesFile()] = Field(
        None,
        description="a file with the initial weights: a state dict, a saved network, a checkpoint "
        "of Lightning or of a training script (.pt .pth .ckpt), or .safetensors",
    )

    new_head: bool = Field(
        False,
        description="take all layers but the last from weights; the last starts untrained: for "
        "weights that were trained on other classes",
    )

    @property
    def is_file(self) -> bool:
        """True if ``name`` is the path of a saved network."""
        return self.name.endswith(FILE_SUFFIXES)

    @property
    def is_function(self) -> bool:
        """True if ``name`` is ``package.module:function``."""
        return not self.is_file and ":" in self.name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.is_file and (self.args or self.weights):
            key = "args" if self.args else "weights"
            raise ValueError(f"'{key}' cannot be combined with the saved network '{self.name}'")
        if self.new_head and self.weights is None:
            raise ValueError("'new_head' needs 'weights'")
        if not self.is_file and not self.is_function:
            MODELS[self.name]  # an unknown name raises with the nearest one
        return self
