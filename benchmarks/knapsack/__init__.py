"""`rfprune.knapsack.solve` beside per-group CBC and HiGHS, and hls4ml's own solver."""
