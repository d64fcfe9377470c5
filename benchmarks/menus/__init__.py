"""`rfprune.knapsack.solve_menu` beside HiGHS with one binary per entry."""
