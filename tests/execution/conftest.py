"""The quick real trials of `tests/study`, executed by Ray."""

from tests.study.conftest import *  # noqa: F403
