"""The ``data:`` section of a sweep or trial file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    model_serializer,
    model_validator,
)

from rfprune.core.paths import NamesFile
from rfprune.data.sets.named import DATASETS

__all__ = ["OF_TABLES", "DataSpec"]

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
RowLimit = Annotated[int, Field(ge=1)]
ClassCount = Annotated[int, Field(strict=True, ge=2)]
ClassNumber = Annotated[int, Field(strict=True, ge=0)]
ClassNumbers = Annotated[tuple[ClassNumber, ...], Field(min_length=2)]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Length = Annotated[int, Field(ge=1)]
#: Keys of files with columns, and those that came after version 0.1: left out of the plain form at
#: their defaults, so that trials and dense networks of that version keep their names.
OF_TABLES = ("features", "target", "weight", "pad_to", "tree", "group")
_NEW = {**dict.fromkeys(("function", "args", *OF_TABLES)), "stream": "auto"}


class DataSpec(BaseModel):
    """Which data, how they are split, and how they are scaled.

    Exactly one of ``name``, ``file`` and ``function`` is given. The splits depend on this section
    and on the data alone, never on the seed of a training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(None, description="a named data set; see `rfprune list datasets`")
    file: Annotated[str | None, NamesFile()] = Field(
        None,
        min_length=1,
        description="arrays (x_train, y_train, ...) as .npz, .h5 or .npy beside each other; a "
        "table with a column per feature as .csv, .parquet, .h5 or .root, or a folder with train, "
        "test and val tables; a folder with images as train/CLASS/*.jpeg and val/CLASS/*.jpeg; a "
        "relative path is looked for beside the file that names it, in the current folder, then "
        "under $RFPRUNE_DATA",
    )
    function: str | None = Field(
        None,
        pattern=r"^[\w.]+:[\w.]+$",
        description="package.module:make, which returns a dict of arrays (x_train, y_train, ...), "
        "or a pair (train, test) or triple (train, validation, test) of torch Datasets",
    )
    args: dict[str, Any] | None = Field(None, description="keyword arguments of the function")
    features: Names | dict[Name, Names] | None = Field(
        None,
        description="columns of a table that are features, in this order, by name or pattern "
        "(jet_*); of several inputs, lists by input; all but target and weight if not set",
    )
    target: Name | Names | dict[Name, Name | Names] | None = Field(
        None,
        description="column of the target; a list for several numbers per row; of several heads, "
        "by head (default: label)",
    )
    weight: Name | None = Field(None, description="column of the weights of rows")
    pad_to: Length | dict[Name, Length] | None = Field(
        None,
        description="length to which columns of lists are padded with zeros or cut; of several "
        "inputs, by input",
    )
    tree: Name | None = Field(None, description="of a .root file that holds several")
    group: Name | None = Field(None, description="of an .h5 file; its top if not set")
    stream: Literal["auto"] | StrictBool = Field(
        "auto",
        description="leave features in their .npy, .h5 or .parquet file and read them as they are "
        "needed; auto: where they take more than 1 GiB as float32",
    )
    label_column: str | None = Field(
        None, description="column of the class in tables; the same as target"
    )
    channels: Literal["auto", "first", "last", "none"] = Field(
        "auto",
        description="where a file's images have their channel axis: first (N, C, H, W), last "
        "(N, H, W, C) or none (N, H, W); auto decides by the shape",
    )
    classes: ClassCount | ClassNumbers | None = Field(
        None,
        description="use only these classes: a number takes the first so many, a list their "
        "numbers (from 0); they are renumbered in this order",
    )
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = Field(
        None,
        description="side in pixels of every image (resized, then cropped to the middle); if not "
        "set, all image files must have the same size",
    )
    resize: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        None, description="short side in pixels before cropping to image_size (default image_size)"
    )
    flatten: bool = Field(False, description="give every sample as one flat vector")
    standardize: Literal["auto"] | StrictBool = Field(
        "auto",
        description="subtract the mean and divide by the standard deviation of the training rows "
        "(per feature of flat data, per channel of images); auto: for everything but images",
    )
    val_fraction: Fraction = Field(
        0.15, description="fraction of the training rows that is set aside for validation"
    )
    test_fraction: Fraction | None = Field(
        None,
        description="fraction of the rows set aside for the test if the data have no test part "
        "(default 0.2)",
    )
    split_seed: int = Field(0, ge=0, lt=2**32, description="seed of the splits")
    train_rows: RowLimit | None = Field(
        None, description="most rows to use for training and validation together"
    )
    test_rows: RowLimit | None = Field(None, description="most test rows to use")

    @model_validator(mode="after")
    def _sizes_and_classes(self) -> Self:
        if self.resize is not None and self.resize < (self.image_size or self.resize + 1):
            raise ValueError(
                f"'resize' is {self.resize} and 'image_size' {self.image_size}; an image is "
                "resized and then cropped to 'image_size', so give both, with 'resize' at least "
                "as large"
            )
        if isinstance(self.classes, tuple) and len(set(self.classes)) < len(self.classes):
            raise ValueError("'classes' names a class twice")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = {"name": self.name, "file": self.file, "function": self.function}
        given = [key for key, value in sources.items() if value is not None]
        if len(given) != 1:
            both = "both " if len(given) == 2 else ""
            said = f"{both}{' and '.join(given)} are" if given else "none is"
            raise ValueError(
                f"give one of 'name' (one of {', '.join(DATASETS)}), 'file' (a path) and "
                f"'function' (package.module:make); here {said} given"
            )
        if self.args is not None and self.function is None:
            raise ValueError("'args' are those of a 'function', and none is given")
        if self.file is not None:
            return self
        if self.name is not None:
            DATASETS[self.name]  # an unknown name raises with the nearest one
        foreign = {"label_column": None, **dict.fromkeys(OF_TABLES)}
        if self.name is not None:
            foreign["channels"] = "auto"
        for key, default in foreign.items():
            if getattr(self, key) != default:
                raise ValueError(f"'{key}' is only for files; {self._source()} fixes it")
        return self

    def _source(self) -> str:
        return f"the data set '{self.name}'" if self.name else f"the function '{self.function}'"

    @model_validator(mode="after")
    def _columns(self) -> Self:
        if self.target is not None and self.label_column is not None:
            raise ValueError("give either 'target' or 'label_column'; they are the same")
        inputs = list(self.features) if isinstance(self.features, dict) else None
        if isinstance(self.pad_to, dict):
            foreign = [name for name in self.pad_to if name not in (inputs or [])]
            if foreign:
                raise ValueError(
                    f"'pad_to' names the input '{foreign[0]}', which 'features' does not; allowed: "
                    f"{', '.join(inputs or []) or 'one number, as there is one input'}"
                )
        return self

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        return {key: v for key, v in plain.items() if key not in _NEW or v != _NEW[key]}
