"""One small trial, run once for all tests of this folder."""

import json

import pytest
import torch

from rfprune.results import TrialFolder
from rfprune.trial.run import run_trial
from tests.trial.conftest import small


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("runs")
    folder = TrialFolder(home / "trials" / "0000")
    (home / "trial.json").write_text(json.dumps({"base_dir": str(home)}))
    run_trial(small(), folder, dense_dir=home / "dense", base_dir=home)
    return folder
