"""What trials note is told when a sweep has ended."""

from pathlib import Path

from rfprune.api.running import _noted_by_trials
from rfprune.results import SweepFolder, TrialResult


def test_what_most_trials_note_comes_first_and_what_was_told_is_left_out(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "mine")
    notes = [["told", "types", "types"], ["told", "types"], ["other"], [], ["a"], ["b"], ["c"]]
    for number, own in enumerate(notes):
        place = folder.trial(number)
        place.path.mkdir(parents=True)
        place.write_result(TrialResult(trial=number, state="complete", notes=own))
    (folder.trial(3).path / "result.json").write_text("{")
    found = _noted_by_trials(folder, {"told"})
    assert found == ["2 of 6 trials: types", "1 of 6 trials: other", "1 of 6 trials: a"]
    assert _noted_by_trials(SweepFolder(tmp_path / "none"), set()) == []
