"""One entry from every menu: the knapsack in which a group has more than two ways to be.

`solve` keeps or drops. Here a group has a menu, each entry with its value and what it holds, and
exactly one entry is taken (the multiple-choice knapsack, with several budgets). It is solved in the
stages that `rfprune.knapsack` describes: prices, found on the entries that can be best at them
(`open_menus`, `dual`); a first selection (`repair`); all selections that lose little, by the same
search in two halves, whose classes are here the menus (`refine`); and CBC for what is left. A menu
of two entries one of which holds nothing is a group that is kept or dropped, and goes to `solve`.

For reading: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, chapter 11 (multiple choice);
Sinha and Zoltners, The multiple-choice knapsack problem, 1979; Pisinger, A minimal algorithm for
the multiple-choice knapsack problem, 1995.
"""

from rfprune.knapsack.menus.solve_menu import solve_menu

__all__ = ["solve_menu"]
