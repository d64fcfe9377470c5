"""The ``data:`` section of a sweep or trial file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from rfprune.data.table import DATASETS

__all__ = ["DataSpec"]

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
RowLimit = Annotated[int, Field(ge=1)]
ClassCount = Annotated[int, Field(strict=True, ge=2)]
ClassNumber = Annotated[int, Field(strict=True, ge=0)]
ClassNumbers = Annotated[tuple[ClassNumber, ...], Field(min_length=2)]


class DataSpec(BaseModel):
    """Which data, how they are split, and how they are scaled.

    Exactly one of ``name`` and ``file`` is given. The splits depend on this section and on the data
    alone, never on the seed of a training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(None, description="a named data set; see `rfprune list datasets`")
    file: str | None = Field(
        None,
        min_length=1,
        description="an .npz file with x_train y_train x_test y_test, a .parquet file with a label "
        "column, a folder with train.parquet and test.parquet, or one with images as "
        "train/CLASS/*.jpeg and val/CLASS/*.jpeg; a relative path is looked for beside the file "
        "that names it, in the current folder, then under $RFPRUNE_DATA",
    )
    label_column: str | None = Field(
        None, description="column of the class in .parquet files (default: label)"
    )
    channels: Literal["auto", "first", "last", "none"] = Field(
        "auto",
        description="where a file's images have their channel axis: first (N, C, H, W), last "
        "(N, H, W, C) or none (N, H, W); auto decides by the shape",
    )
    classes: ClassCount | ClassNumbers | None = Field(
        None,
        description="only these classes: how many, from the first on, or a list of their numbers "
        "(from 0); they are numbered anew in this order",
    )
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = Field(
        None,
        description="side in pixels to which image files are brought (resized, then cut out of the "
        "middle); not set, all must have one size already",
    )
    resize: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        None, description="short side in pixels before image_size is cut out (default image_size)"
    )
    flatten: bool = Field(False, description="give every sample as one flat vector")
    standardize: Literal["auto"] | StrictBool = Field(
        "auto",
        description="subtract the mean and divide by the standard deviation of the training rows "
        "(flat data per feature, images per channel); auto does so for everything but images",
    )
    val_fraction: Fraction = Field(
        0.15, description="part of the training rows that is set aside for validation"
    )
    test_fraction: Fraction | None = Field(
        None, description="part cut off for the test if the data have no test part (default 0.2)"
    )
    split_seed: int = Field(0, ge=0, lt=2**32, description="seed of the splits")
    train_rows: RowLimit | None = Field(
        None, description="use at most so many rows for training and validation together"
    )
    test_rows: RowLimit | None = Field(None, description="use at most so many test rows")

    @model_validator(mode="after")
    def _sizes_and_classes(self) -> Self:
        if self.resize is not None and self.resize < (self.image_size or self.resize + 1):
            raise ValueError(
                f"'resize' is {self.resize} and 'image_size' {self.image_size}; an image is "
                "resized before 'image_size' is cut out of it, so give both, and the first not "
                "below the second"
            )
        if isinstance(self.classes, tuple) and len(set(self.classes)) < len(self.classes):
            raise ValueError("'classes' names a class twice")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.file is None):
            given = "both are" if self.name is not None else "neither is"
            raise ValueError(
                f"give either 'name' (one of {', '.join(DATASETS)}) or 'file' (a path); "
                f"here {given} given"
            )
        if self.name is None:
            return self
        DATASETS[self.name]  # an unknown name raises with the nearest one
        foreign = {"label_column": None, "channels": "auto"}
        for key, default in foreign.items():
            if getattr(self, key) != default:
                raise ValueError(f"'{key}' is for files; the data set '{self.name}' fixes it")
        return self
