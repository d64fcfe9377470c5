"""The data section of a file: what it allows and how it says no."""

import pytest
from pydantic import ValidationError

from rfprune.data import DATASETS
from rfprune.data.spec import DataSpec


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "give one of 'name' .*, 'file' .* and 'function' .* none is given"),
        ({"name": "digits", "file": "a.npz"}, "both name and file are given"),
        ({"name": "digitz"}, "unknown dataset 'digitz'. Did you mean 'digits'?"),
        ({"name": "digits", "rows": 3}, "Extra inputs are not permitted"),
        ({"name": "digits", "val_fraction": 0}, "greater than 0"),
        ({"name": "digits", "val_fraction": 1.0}, "less than 1"),
        ({"name": "digits", "train_rows": 0}, "greater than or equal to 1"),
        ({"name": "digits", "split_seed": -1}, "greater than or equal to 0"),
        ({"name": "digits", "split_seed": 2**32}, "less than 4294967296"),
        ({"name": "digits", "standardize": "yes"}, "'auto'"),
        ({"name": "digits", "label_column": "y"}, "'label_column' is only for files"),
        ({"name": "digits", "classes": 1}, "greater than or equal to 2"),
        ({"name": "digits", "classes": [3, 3]}, "'classes' names a class twice"),
        ({"name": "digits", "classes": [-1, 3]}, "greater than or equal to 0"),
        ({"name": "tiny_imagenet", "image_size": 4}, "greater than or equal to 8"),
        ({"name": "tiny_imagenet", "resize": 40}, "'image_size' None; an image is resized and"),
        (
            {"name": "tiny_imagenet", "resize": 40, "image_size": 64},
            "'resize' is 40 and 'image_size' 64",
        ),
        ({"name": "digits", "channels": "last"}, "'channels' is only for files"),
    ],
)
def test_a_wrong_section_is_refused(section, message):
    with pytest.raises(ValidationError, match=message):
        DataSpec.model_validate(section)


def test_sections_are_values():
    assert DataSpec(name="digits") == DataSpec(name="digits", val_fraction=0.15)
    assert len({DataSpec(name="digits"), DataSpec(name="digits")}) == 1
    with pytest.raises(ValidationError, match="frozen"):
        DataSpec(name="digits").name = "svhn"


def test_the_table_names_every_set_with_one_line():
    assert list(DATASETS) == [
        "breast_cancer",
        "cifar10",
        "diabetes",
        "digit_properties",
        "digits",
        "digits_images",
        "event_tagger",
        "fashion_mnist",
        "jets",
        "svhn",
        "tiny_imagenet",
        "tumour_anomalies",
        "two_heads",
    ]
    assert all(DATASETS[name].summary and "\n" not in DATASETS[name].summary for name in DATASETS)
    assert all(callable(DATASETS.load(name)) for name in DATASETS)
