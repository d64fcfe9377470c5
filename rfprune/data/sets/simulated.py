"""Small sets that are simulated or taken from embedded ones, one for each kind of task."""

from __future__ import annotations

import numpy as np

from rfprune.data.dataset import RawData
from rfprune.data.sets.image_sets import digits
from rfprune.data.sets.scikit_learn import breast_cancer

__all__ = ["digit_properties", "event_tagger", "tumour_anomalies", "two_heads"]

_ROWS, _FEATURES, _CLASSES = 3000, 12, 4
_EVENTS, _VARIABLES = 40_000, 20


def digit_properties() -> RawData:
    """Return the embedded digits with three labels: odd, at least five, with a closed loop."""
    found = digits()
    assert isinstance(found.y_train, np.ndarray)
    digit = found.y_train.astype(np.int64)
    loop = np.isin(digit, (0, 6, 8, 9))
    labels = np.stack([digit % 2 == 1, digit >= 5, loop], axis=1).astype(np.int64)
    return RawData("digit_properties", found.x_train, labels, full_scale=found.full_scale)


def tumour_anomalies() -> RawData:
    """Return the tumours of `breast_cancer` with label 0 for benign and 1 for malignant ones."""
    found = breast_cancer()
    assert isinstance(found.y_train, np.ndarray)
    return RawData("tumour_anomalies", found.x_train, 1 - found.y_train)


def two_heads() -> RawData:
    """Return simulated particles: four classes, and a momentum that the features blur by class.

    Targets are ``label`` (N,) and ``pt`` (N, 1); rows of rare high momentum weigh more.
    """
    # RandomState's stream is frozen (NEP 19): the set is the same for ever.
    rng = np.random.RandomState(0)
    label = rng.randint(0, _CLASSES, _ROWS)
    pt = rng.exponential(1.0, _ROWS) + 0.2
    centres = rng.normal(size=(_CLASSES, _FEATURES)) * 0.9
    x = centres[label] + rng.normal(size=(_ROWS, _FEATURES))
    x[:, :4] += np.log(pt)[:, None] * (1 + 0.2 * label[:, None])
    return RawData(
        "two_heads",
        x.astype(np.float32),
        {"label": label, "pt": pt.astype(np.float32)[:, None]},
        w_train=np.clip(pt, 0.5, 4.0).astype(np.float32),
    )


def event_tagger() -> RawData:
    """Return simulated events of a trigger: 20 variables, and whether an event is a signal (0, 1).

    One event in five is: shifted, and correlated in another way.
    """
    rng = np.random.RandomState(1)
    signal = rng.rand(_EVENTS) < 0.2
    hidden = rng.normal(size=(_EVENTS, 5))
    x = hidden @ rng.normal(scale=0.5, size=(5, _VARIABLES))
    x += rng.normal(size=(_EVENTS, _VARIABLES))
    shift = rng.normal(scale=0.4, size=_VARIABLES)
    x += signal[:, None] * (shift + 0.5 * np.roll(x, 3, axis=1))
    return RawData("event_tagger", x.astype(np.float32), signal.astype(np.int64))
