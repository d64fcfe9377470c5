"""A sweep's driver and depot as two queues: where more workers stop to help.

The driver serves one thing at a time (ask, a step's report, tell, and the share of its processor
that the thread for MLflow takes), and so does the depot (a step's files). A worker waits for each
answer. `simulate` plays this through event by event; `saturation` is the number of workers at which
the slower of the two is always busy.
"""

import heapq
import itertools
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """What one thing takes, in seconds.

    Attributes:
        ask: drawing a point and writing it down, on the driver.
        report: taking note of one step, on the driver.
        tell: recording an end, on the driver.
        projection: processor time of writing a finished trial to MLflow, in the driver's process.
        commit: putting a step's files into place, on the depot, without their bytes.
        bytes_per_second: of the depot.
    """

    ask: float
    report: float
    tell: float
    projection: float
    commit: float
    bytes_per_second: float


@dataclass(frozen=True)
class Load:
    """What the trials are like: wall time, steps, bytes of a step's files."""

    seconds: float = 300.0
    steps: int = 6
    bytes_per_step: float = 1e6


def driver_seconds(costs: Costs, load: Load) -> float:
    """Return the driver's time for one trial."""
    return costs.ask + load.steps * costs.report + costs.tell + costs.projection


def depot_seconds(costs: Costs, load: Load) -> float:
    """Return the depot's time for one trial."""
    return load.steps * (costs.commit + load.bytes_per_step / costs.bytes_per_second)


def saturation(costs: Costs, load: Load, drivers: int = 1) -> float:
    """Return how many workers keep the slower of driver and depot busy all the time.

    Little's law for a closed loop: a trial takes ``seconds`` at its worker and then its turn.
    """
    slowest = max(driver_seconds(costs, load), depot_seconds(costs, load))
    idle = driver_seconds(costs, load) + depot_seconds(costs, load)
    return drivers * (load.seconds + idle) / slowest


class _Server:
    """Serves one request at a time, in the order of their arrival."""

    free = busy = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """Return when a request that arrives now is done."""
        self.free = max(now, self.free) + seconds
        self.busy += seconds
        return self.free


def simulate(
    costs: Costs, load: Load, workers: int, trials_per_worker: int = 4, seed: int = 0
) -> dict[str, float]:
    """Play a sweep with one driver.

    Trials take the load's seconds times a factor between 0.5 and 1.5, and the workers come within
    the time of one trial, as on a cluster that grows.

    Returns:
        ``efficiency`` (time at work over all time of the workers), ``driver_busy`` and
        ``depot_busy`` (fractions of the time), ``trials_per_hour``.
    """
    rng = random.Random(seed)
    driver, depot = _Server(), _Server()
    order = itertools.count()
    queue = [(rng.uniform(0, load.seconds), next(order), 0, 0.0) for _ in range(workers)]
    heapq.heapify(queue)
    left = workers * trials_per_worker
    came, gone, worked, end = sum(entry[0] for entry in queue), 0.0, 0.0, 0.0
    while queue:
        now, _, step, pace = heapq.heappop(queue)
        if step == 0:  # the worker asks for a trial
            if left == 0:
                gone += now
                continue
            left -= 1
            pace = load.seconds * rng.uniform(0.5, 1.5) / load.steps
            following, step = driver.serve(now, costs.ask) + pace, 1
        elif step <= load.steps:  # it has made a step: first its files, then its report
            worked += pace
            there = depot.serve(now, depot_seconds(costs, load) / load.steps)
            following = driver.serve(there, costs.report)
            step += 1
            following += pace if step <= load.steps else 0.0
        else:
            following, step = driver.serve(now, costs.tell + costs.projection), 0
            end = following
        heapq.heappush(queue, (following, next(order), step, pace))
    return {
        "workers": workers,
        "efficiency": worked / (gone - came),
        "driver_busy": driver.busy / end,
        "depot_busy": depot.busy / end,
        "trials_per_hour": 3600 * workers * trials_per_worker / end,
    }
