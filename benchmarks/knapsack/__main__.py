"""`rfprune.knapsack.solve` beside per-group CBC and HiGHS, and hls4ml's own solver."""

from benchmarks.knapsack.measure import CASES, PACKAGES, measure, page
from benchmarks.report import Study, listed

if __name__ == "__main__":
    Study(
        "knapsack",
        "solve beside CBC, HiGHS and hls4ml's solver",
        measure,
        page,
        packages=PACKAGES,
        options={
            "--sizes": (str, "1000,10000,100000,1000000", "groups, with commas"),
            "--cases": (listed(CASES, ";"), ";".join(CASES), f"some of: {'; '.join(CASES)}"),
            "--limit": (float, 30.0, "seconds for other solvers"),
            "--repeats": (int, 5, "runs of solve; the median counts"),
            "--seed": (int, 0, "of the instances"),
        },
    ).run()
