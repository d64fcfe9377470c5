"""Which groups to keep: a multidimensional knapsack, solved with a certificate.

::

    from rfprune.knapsack import solve
    s = solve(value, cost, budget)     # (G,), (G, R), (R,)
    s.keep, s.objective, s.bound, s.gap, s.prices

The package knows numbers only: a value per group, what it holds of each resource, and budgets. What
a group is, where values come from and what a resource costs is decided elsewhere.

The problem is NP-hard, and yet a million groups take a fraction of a second, because everything
but a few hundred groups is decided by prices:

1. *Reduction* (`reduction`). Groups that are worth nothing, cost nothing or cannot fit are settled;
   floors keep the best of their layer (`floors`); equal groups become one row with a count.
2. *Prices* (`prices`). The Lagrangian dual ``min_{p >= 0} p . budget + sum_g max(0, v_g - p .
   a_g)`` is solved by column generation with a basis of (R + 1)^2 numbers. Its minimum is the
   bound of the linear relaxation, and its prices are what one unit of each resource is worth.
3. *Core* (`core_problem`). Going against the prices costs a group's margin ``|v_g - p . a_g|``.
   What would cost more than the distance between the bound and the best selection known is fixed.
   The rest is sorted into classes of equal cost; of a class the most valuable groups are kept, so
   that it is one integer.
4. *Search* (`greedy`, `meet_in_the_middle`, `refine`). All selections that lose at most a little
   against the bound are looked at, then all that lose a little more: either the first one that fits
   is the optimum, or the bound falls. Each time the classes are split into two halves, whose
   choices are enumerated and matched.
5. *Residual core* (`curves`, `residual_core`). Where the halves have too many choices, or where few
   large groups beside many small ones leave more open than they can cover, the core goes to CBC
   through PuLP: one integer per class, at most 300 of them, whatever the number of groups. What the
   best n of a class are worth is concave in n and enters as a bound that is refined where it
   matters.

The answer is within the budgets always, by the plain sum ``(cost * keep[:, None]).sum(0) <=
budget``; the bound is valid whatever the rounding; equal input gives equal output. Up to 2000
groups the search continues to the proof of the optimum, above to a relative gap of 1e-6. What stays
hard are many groups that all differ in cost under four or more budgets that bind together: there
`Selection.gap` says what is left.

A group can also have more than two ways to be: `solve_menu` takes one entry of every menu
(`rfprune.knapsack.menus`), of which keeping and dropping is the special case of two entries.

For reading: Martello and Toth, Knapsack Problems, 1990 (reduction); Kellerer, Pferschy and
Pisinger, Knapsack Problems, 2004, chapters 5 (core) and 9 (several constraints); Dantzig
and Wolfe, Decomposition Principle for Linear Programs, 1960; Duran and Grossmann, An
outer-approximation algorithm for a class of mixed-integer nonlinear programs, 1986.
"""

from rfprune.knapsack.menus import solve_menu
from rfprune.knapsack.selection import MenuSelection, Selection
from rfprune.knapsack.solve import solve

__all__ = ["MenuSelection", "Selection", "solve", "solve_menu"]
