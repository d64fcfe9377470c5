"""What `rfprune.execution.ray_private` expects of Ray, checked on the version that is installed."""

from __future__ import annotations

import copy
import gc
import importlib
import inspect
import logging
import os
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import ray

from rfprune.errors import WorkError
from rfprune.execution import ray_private
from rfprune.execution.ray_private import (
    ENVIRONMENT,
    cause_of_death,
    is_lost,
    own_errors,
    pending_in_order,
)

HERE = Path(__file__).parent
CORE = Path(ray.__file__).parent / "core" / "src" / "ray"


def expect(holds: bool, expectation: str, needed_for: str) -> None:
    """Fail with a sentence that names the version, what it broke, and what rests on that."""
    if not holds:
        pytest.fail(
            f"Ray {ray.__version__} does not do what rfprune expects: {expectation}. "
            f"Needed for: {needed_for}."
        )


#: Where Ray reads each variable, and what it is set for.
READ_IN = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": ("ray._private.accelerators.accelerator", "no warning"),
    "RAY_AIR_NEW_OUTPUT": ("ray.tune.experimental.output", "silence of Tune's reporter"),
    "RAY_CHDIR_TO_TRIAL_DIR": ("ray.train.constants", "relative paths in a user's own modules"),
    "RAY_USAGE_STATS_ENABLED": ("ray._common.usage.usage_constants", "sending no statistics"),
    "RAY_health_check_initial_delay_ms": ("gcs/gcs_server", "noticing a dead node in seconds"),
    "RAY_health_check_period_ms": ("gcs/gcs_server", "noticing a dead node in seconds"),
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": ("ray.tune.utils.callback", "one log per trial"),
    "TUNE_DISABLE_SIGINT_HANDLER": ("ray.tune.tune", "an orderly end at Ctrl-C"),
    "TUNE_GLOBAL_CHECKPOINT_S": ("ray.tune.execution.tune_controller", "no snapshots of Tune's"),
    "TUNE_MAX_PENDING_TRIALS_PG": ("ray.tune.execution.tune_controller", "trials side by side"),
}


def test_every_variable_has_its_check() -> None:
    assert set(READ_IN) == set(ENVIRONMENT)


@pytest.mark.parametrize("name", READ_IN)
def test_ray_reads_the_variable(name: str) -> None:
    where, needed_for = READ_IN[name]
    if where.startswith("ray."):
        found = name in inspect.getsource(importlib.import_module(where))
    else:
        # Settings of Ray's core are read by their own name behind RAY_, in a compiled program.
        found = name.removeprefix("RAY_").encode() in (CORE / where).read_bytes()
    expect(found, f"{where} reads the environment variable {name}", needed_for)


def test_ray_takes_sigterm_by_one_function() -> None:
    from ray._private import node, worker

    expect(
        all("_private.utils.set_sigterm_handler(" in inspect.getsource(m) for m in (node, worker)),
        "ray.init sets its handlers of SIGTERM by ray._private.utils.set_sigterm_handler",
        "an orderly end at SIGTERM while Ray starts",
    )


def test_a_node_starts_each_service_by_a_method_of_its_own() -> None:
    from ray._private.node import Node

    starts = "".join(
        inspect.getsource(method)
        for method in (Node.start_head_processes, Node.start_ray_processes)
    )
    expect(
        all(f"self.{name}(" in starts for name in ray_private._UNUSED_SERVICES),
        f"a node calls its methods {', '.join(ray_private._UNUSED_SERVICES)}",
        "a start without services that nobody asks",
    )


def test_no_garbage_is_collected_while_ray_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Circle:
        def __init__(self) -> None:
            self.itself = self

    circle = Circle()
    alive, seen = weakref.ref(circle), []
    del circle
    monkeypatch.setattr(ray, "shutdown", lambda: seen.append((gc.isenabled(), alive())))
    ray_private.shut_down()
    assert seen == [(False, None)]
    assert gc.isenabled()


def test_tune_speaks_on_the_logger_that_is_silenced() -> None:
    from ray.tune.execution import tune_controller

    # Loggers are hung below one that is made later than they are.
    logging.getLogger(ray_private._LOGGER)
    parents = []
    logger: logging.Logger | None = tune_controller.logger
    while logger is not None:
        parents.append(logger.name)
        logger = logger.parent
    expect(
        ray_private._LOGGER in parents,
        f"Tune logs the errors of trials on a child of the logger {ray_private._LOGGER}",
        "a display that is not torn by tracebacks",
    )


def test_the_words_of_ray_s_errors() -> None:
    from ray._private.utils import check_version_info

    raylet = (CORE / "raylet" / "raylet").read_bytes()
    expect(
        any(words.encode() in raylet for words in ray_private._OUT_OF_MEMORY),
        f"the memory monitor says one of {ray_private._OUT_OF_MEMORY}",
        "trying a trial again that ran out of memory, with 'memory' as its reason",
    )
    there = {"ray_version": "2.9.0", "python_version": "3.8.1"}
    with pytest.raises(RuntimeError) as caught:
        check_version_info(there, "host")
    expect(
        ray_private.is_version_mismatch(caught.value),
        f"a cluster of another version is refused with '{ray_private._VERSION_MISMATCH}'",
        "saying what to do about it",
    )


def test_a_submitted_job_is_recognised() -> None:
    from ray._private.runtime_env import constants

    expect(
        ray_private.JOB_CONFIG_VARIABLE == constants.RAY_JOB_CONFIG_JSON_ENV_VAR,
        f"{ray_private.JOB_CONFIG_VARIABLE} is set in the driver of a submitted job",
        "leaving the code of a submitted job as it was sent",
    )


def test_what_tune_s_trials_have() -> None:
    from ray.tune.experiment import Trial

    members = ["PENDING", "ERROR", "is_finished", "error_file", "get_json_state", "set_status"]
    missing = [name for name in members if not hasattr(Trial, name)]
    expect(
        not missing,
        f"a trial of Tune has {', '.join(missing)}",
        "the scheduler, the cause of a death, and keeping trials out of Tune's snapshot",
    )


class FakeController:
    """A controller, and what Tune wraps it in for schedulers.

    Attributes:
        started: trials whose own workers are being started.
    """

    def __init__(self) -> None:
        self.started: list[Any] = []
        self._tune_controller = self._actor_manager = self._trial_to_actor = self

    def get(self, trial: Any) -> Any:
        return trial

    def is_actor_started(self, worker: Any) -> bool:
        return worker in self.started


def test_the_scheduler_takes_trials_in_their_order_but_for_those_whose_workers_start() -> None:
    from ray.tune.experiment import Trial

    class Waiting:
        PENDING, ERROR = Trial.PENDING, Trial.ERROR

        def __init__(self) -> None:
            self.status = Trial.PENDING

    controller, scheduler = FakeController(), pending_in_order()
    trials = [Waiting() for _ in range(4)]
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    trials[0].status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(controller) is trials[1]
    # Named again as long as it waits, unless a worker of its own is on its way.
    assert scheduler.choose_trial_to_run(controller) is trials[1]
    controller.started.append(trials[1])
    assert scheduler.choose_trial_to_run(controller) is trials[2]
    trials[2].status = Trial.ERROR
    assert scheduler.choose_trial_to_run(controller) is trials[3]
    trials[1].status = trials[3].status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(controller) is None
    assert is_lost(trials[2])
    assert not is_lost(trials[1])


def test_trials_shorter_than_the_start_of_a_worker_still_use_all_slots(
    ray_session: None, tmp_path: Path
) -> None:
    from ray import tune
    from ray.tune.search import Searcher

    seen, patience = tmp_path / "seen.txt", time.monotonic() + 120

    def workers() -> set[str]:
        return set(seen.read_text().split()) if seen.exists() else set()

    class TwoAtATime(Searcher):  # type: ignore[misc]
        live = 0

        def suggest(self, trial_id: str) -> dict[str, Any] | None:
            if self.live == 2:
                return None
            self.live += 1
            return {"seen": str(seen)}

        def on_trial_complete(self, *known: Any, **info: Any) -> None:
            self.live -= 1

    class BothWork(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return True

        def stop_all(self) -> bool:
            return len(workers()) == 2 or time.monotonic() > patience

    tune.run(
        _brief,
        search_alg=TwoAtATime(),
        num_samples=-1,
        storage_path=str(tmp_path / "tune"),
        resources_per_trial={"cpu": ray.cluster_resources()["CPU"] / 2},
        scheduler=pending_in_order(),
        stop=BothWork(),
        reuse_actors=True,
        verbose=0,
    )
    assert len(workers()) == 2


def _brief(config: dict[str, Any]) -> None:
    """Note which process it is, and be over."""
    from rfprune.execution.ray_private import leave_trial_thread, report_to_tune

    with Path(config["seen"]).open("a") as file:
        file.write(f"{os.getpid()}\n")
    report_to_tune({"step": "0"})
    leave_trial_thread()


def _function(config: dict[str, Any]) -> None:
    """Report until Tune stops it and note what happens; the last trial dies."""
    from rfprune.execution.ray_private import leave_trial_thread, report_to_tune

    if config["number"] == 2:
        os._exit(1)
    with (Path(config["folder"]) / "seen.txt").open("a") as file:
        for step in range(3):
            goes_on = report_to_tune({"step": str(step)})
            print(config["number"], os.getpid(), step, goes_on, file=file, flush=True)
            if not goes_on:
                leave_trial_thread()


@pytest.fixture(scope="module")
def experiment(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[list[str]], list[str], Path]:
    """Run three trials one after the other: two that are stopped after a step, one that dies.

    Returns the lines that they wrote, the causes of deaths, and Tune's folder.
    """
    from ray import tune

    folder = tmp_path_factory.mktemp("tune")
    causes: list[str] = []

    class Listen(tune.Callback):  # type: ignore[misc]
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ray_private.stateless(trial)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            causes.append(cause_of_death(trial))

    class AfterOneStep(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return result.get("step") == "0"

        def stop_all(self) -> bool:
            return False

    tune.run(
        _function,
        config={"number": tune.grid_search([0, 1, 2]), "folder": str(folder)},
        storage_path=str(folder / "tune"),
        name="check",
        resources_per_trial={"cpu": ray.cluster_resources()["CPU"]},
        scheduler=pending_in_order(),
        stop=AfterOneStep(),
        callbacks=[Listen()],
        reuse_actors=True,
        max_failures=0,
        raise_on_failed_trial=False,
        verbose=0,
    )
    lines = [line.split() for line in (folder / "seen.txt").read_text().splitlines()]
    return lines, causes, folder / "tune" / "check"


def test_a_stopped_function_hears_of_it_and_its_worker_takes_the_next_trial(
    experiment: tuple[list[list[str]], list[str], Path],
) -> None:
    lines, _, _ = experiment
    expect(
        [line[2:] for line in lines] == 2 * [["0", "False"]],
        "tune.report raises SystemExit in a function that Tune stops",
        "ending a trial early at the step that is overtaken",
    )
    workers = {line[1] for line in lines}
    expect(
        len(workers) == 1,
        "a function that leaves by SystemExit leaves a worker that can be reused",
        "not paying seconds for a new worker after each early end",
    )


def test_the_cause_of_a_death_is_in_the_file_of_errors(
    experiment: tuple[list[list[str]], list[str], Path],
) -> None:
    _, causes, _ = experiment
    expect(
        len(causes) == 1 and "The actor died unexpectedly" in causes[0],
        "on_trial_error comes when the text of the error lies in trial.error_file, after a line "
        "'Failure # ...'",
        "saying why a worker died",
    )


def test_trials_are_not_in_tune_s_last_snapshot(
    experiment: tuple[list[list[str]], list[str], Path],
) -> None:
    snapshots = list(experiment[2].rglob("experiment_state-*.json"))
    expect(
        bool(snapshots) and all("trainable_name" not in path.read_text() for path in snapshots),
        "Tune writes a trial into its snapshot as Trial.get_json_state returns it",
        "an end of the sweep that does not pickle every trial again",
    )


@pytest.mark.parametrize("error", [WorkError("the study is away"), OSError(28, "no space")])
def test_an_error_of_a_callback_leaves_as_it_was_raised(
    ray_session: None, tmp_path: Path, error: Exception
) -> None:
    from ray import tune

    class Fails(tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, **info: Any) -> None:
            raise error

    with pytest.raises(type(error)) as caught, own_errors():
        tune.run(
            lambda config: tune.report({"step": 0}),
            storage_path=str(tmp_path),
            callbacks=[Fails()],
            verbose=0,
        )
    expect(
        caught.value is error,
        "an error of a callback is the context of the TuneError that tune.run raises",
        "one sentence, and the right exit status, where the study cannot be written",
    )


def test_tune_counts_callbacks_and_fetches_the_function_by_these_two() -> None:
    from ray.tune import registry, tune

    expect(
        "air_usage.tag_callbacks(callbacks)" in inspect.getsource(tune)
        and "_internal_kv_get(_make_key(" in inspect.getsource(registry._Registry.get),
        "tune.run counts callbacks by ray.air._internal.usage.tag_callbacks, and its registry asks "
        "the store by ray.tune.registry._internal_kv_get",
        "a first trial a second earlier, and a driver that asks the store once",
    )


def test_the_store_is_asked_once_for_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.air._internal import usage
    from ray.tune import registry

    asked: list[bytes] = []
    store: dict[bytes, bytes] = {}

    def ask(key: bytes) -> bytes | None:
        asked.append(key)
        return store.get(key)

    monkeypatch.setattr(registry, "_internal_kv_get", ask)
    count = usage.tag_callbacks
    with ray_private.lean_tune():
        assert registry._internal_kv_get(b"trial") is None
        store[b"trial"] = b"function"
        assert [registry._internal_kv_get(b"trial") for _ in range(3)] == 3 * [b"function"]
        assert usage.tag_callbacks([object()]) is False
    assert asked == [b"trial", b"trial"]
    assert (registry._internal_kv_get, usage.tag_callbacks) == (ask, count)


def test_all_trials_of_a_sweep_share_their_resources() -> None:
    shared = ray_private.same_resources({"CPU": 1.0, "memory": 1000})
    assert copy.deepcopy({"resources": shared})["resources"] is shared
    assert shared.bundles == [{"CPU": 1.0, "memory": 1000}]
    assert shared == ray_private.same_resources({"CPU": 1.0, "memory": 1000})
    assert shared != ray_private.same_resources({"CPU": 2.0})
    assert hash(shared) == hash(ray_private.same_resources({"CPU": 1.0, "memory": 1000}))
