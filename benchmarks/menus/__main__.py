"""`rfprune.knapsack.solve_menu` beside HiGHS with one binary per entry."""

from benchmarks.menus.measure import CASES, measure, page
from benchmarks.report import Study, listed

if __name__ == "__main__":
    Study(
        "menus",
        "solve_menu beside HiGHS with one binary per entry",
        measure,
        page,
        packages=("rfprune", "numpy", "scipy", "pulp"),
        options={
            "--sizes": (str, "100,1000,100000,1000000", "menus, with commas"),
            "--cases": (listed(CASES, ";"), ";".join(CASES), f"some of: {'; '.join(CASES)}"),
            "--limit": (float, 20.0, "seconds for HiGHS"),
            "--repeats": (int, 3, "runs of solve_menu; the median counts"),
            "--seed": (int, 0, "of the instances"),
        },
    ).run()
