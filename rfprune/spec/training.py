"""Training of the dense network; fine-tuning goes by the same settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rfprune.core.added_keys import added
from rfprune.spec.base import StrictSpec

__all__ = ["AugmentSpec", "EarlyStoppingSpec", "PlateauSpec", "TrainSpec", "WatchSpec"]

NonNegative = Annotated[float, Field(ge=0)]


class AugmentSpec(StrictSpec):
    """Random changes of training images, drawn again for every minibatch."""

    crop_padding: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="pixels by which an image is shifted at most in each direction"
    )
    flip: bool = Field(False, description="mirror half of the images left to right")


class WatchSpec(StrictSpec):
    """What is looked at after every epoch of the dense training, on validation rows."""

    patience: PositiveInt
    monitor: Literal["score", "loss"] = Field(
        "score", description="the metric that decides, or the loss"
    )
    min_delta: NonNegative = Field(
        0.0, description="least change, in units of what is watched, that counts as better"
    )

    @model_validator(mode="before")
    @classmethod
    def _patience_alone(cls, value: Any) -> Any:
        # True would become a patience of 1.
        plain = isinstance(value, int) and not isinstance(value, bool)
        return {"patience": value} if plain else value


class EarlyStoppingSpec(WatchSpec):
    """End the dense training when it no longer gets better; the best epoch is kept."""

    patience: PositiveInt = Field(
        10, description="epochs without anything better after which training ends"
    )


class PlateauSpec(WatchSpec):
    """Lower the learning rate when the dense training no longer gets better; the best is kept."""

    patience: PositiveInt = Field(
        5, description="epochs without anything better after which the rate is lowered"
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="what the learning rate is multiplied by"
    )
    least: NonNegative = Field(0.0, description="learning rate that is not gone below")


class TrainSpec(StrictSpec):
    """Training of the dense network; fine-tuning uses the same batch size and optimizer."""

    epochs: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        20, description="0 takes the network as it is, with its weights"
    )
    batch_size: Annotated[int, Field(gt=0, le=2**24)] = 256
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: PositiveFloat = 3e-3
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: NonNegative = 0.0
    clip_norm: PositiveFloat | None = added(
        None, description="largest norm of the gradient of all weights; no limit if not set"
    )
    early_stopping: EarlyStoppingSpec | None = added(
        None, description="of the dense training; a number is its patience; off if not set"
    )
    plateau: PlateauSpec | None = added(
        None, description="of the dense training; a number is its patience; off if not set"
    )
    function: Annotated[str | None, Field(pattern=r"^[\w.]+:\w+$")] = added(
        None,
        description="a training of your own as package.module:function; it is handed the network, "
        "the rows, what keeps masked weights masked, and these settings, and returns the network",
    )
    augment: AugmentSpec | None = Field(
        None, description="random changes of training images; none if not set"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.plateau is not None and self.learning_rate_schedule != "constant":
            raise ValueError(
                f"plateau: cannot be combined with learning_rate_schedule: "
                f"{self.learning_rate_schedule}, which sets the learning rate itself"
            )
        watched = [key for key in ("early_stopping", "plateau") if getattr(self, key) is not None]
        if watched and self.function is not None:
            raise ValueError(
                f"{watched[0]}: cannot be combined with function, which trains in its own way"
            )
        if watched and self.epochs == 0:
            raise ValueError(f"{watched[0]}: has nothing to watch with epochs: 0")
        return self

    @property
    def watches_the_score(self) -> bool:
        """Whether a metric decides how, or for how long, the dense training continues."""
        given = (self.early_stopping, self.plateau)
        return any(watch is not None and watch.monitor == "score" for watch in given)
