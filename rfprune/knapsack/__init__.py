from rfprune.knapsack.selection import Selection
from rfprune.knapsack.solve import solve

__all__ = ["Selection", "solve"]
