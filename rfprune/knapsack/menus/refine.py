"""From prices to a selection whose distance from the bound is as small as asked for.

As in `rfprune.knapsack.refine`: all selections that lose no more than a reach are looked at, by the
same search in two halves; either the best of them is the optimum, or the bound falls by the reach
and more entries are taken. A class of that search is a menu here. What is open in the end goes to
CBC, one binary per open entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rfprune.knapsack.best_known import BestKnown, need, settled
from rfprune.knapsack.cbc import ATTEMPTS, DISTANCE, ROOM, run
from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.meet_in_the_middle import SearchProblem, search
from rfprune.knapsack.menus.open_menus import Best, Menus
from rfprune.knapsack.menus.repair import Changed, repair
from rfprune.knapsack.refine import Limits

__all__ = ["BestChoice", "refine_menus"]

#: Entries in the core beside the best ones, round by round.
_ROUNDS = (16, 24, 32, 43, 57, 76, 101, 135, 180, 240, 320, 427, 569, 759, 1012)
#: Entries that lose no more than this, of values up to 1, are tied but for rounding.
_TIED_LOSS = 1e-14
_LAST = 1 + _ROUNDS[-1]
#: So many times more entries than asked for come from ties, of which `_TIED` are looked at.
_TIES, _TIED = 16, 28
#: CBC takes long even to start on more entries than this.
_ENTRIES_FOR_CBC = 3000
#: Menus that may be summed over in one round where only the caller's own sum can tell.
_SUMMED = 4_000_000


@dataclass(frozen=True)
class BestChoice(BestKnown):
    """The best selection known, as its difference from the best at the prices; None: none is."""

    changed: Changed | None


@dataclass(frozen=True)
class _Options:
    """The open entries of one menu, as the search sees them."""

    entries: Ints
    shift: Floats
    loss: Floats


def refine_menus(
    menus: Menus, best: Best, limits: Limits, check: Callable[[Ints], bool]
) -> tuple[BestChoice, Ints | None]:
    """Return the best selection found and the bound on all of them, and its entries (G,).

    Args:
        menus: what is open.
        best: the best selection at the best prices.
        limits: when to stop.
        check: tells whether entries (G,) are within the budgets where rounding leaves it open.
    """
    work = _MenuRefiner(menus, best, limits, check)
    known = work.start()
    # Among ties the base is arbitrary: from the repaired one the search has less to change.
    work, known = work.moved(known)
    for entries in _ROUNDS:
        if work.done(known):
            break
        better = work.search(known, entries)
        # Ties alone prove nothing, and a second sample of them hardly finds more than the first.
        if better is None or (better.gain, better.bound) == (known.gain, known.bound):
            break
        known = better
    if not work.done(known) and limits.nodes:
        known = work.residual(known)
    return known, None if known.changed is None else known.changed.choice(work.best)


@dataclass(frozen=True)
class _MenuRefiner:
    """One problem at its prices; each step takes the best so far and returns a better one."""

    menus: Menus
    best: Best
    limits: Limits
    check: Callable[[Ints], bool]

    def start(self) -> BestChoice:
        """Return the repaired selection, bounded by the prices."""
        # Values are not negative: a negative bound says that there is no selection.
        bound = self.best.bound if self.best.bound >= 0 else -np.inf
        known = BestChoice(-np.inf, bound, False, None)
        found = repair(self.menus, self.best, self.limits.gap) if np.isfinite(bound) else None
        if found is None:
            return known
        return self._settled(self._with(known, found), np.inf)

    def moved(self, known: BestChoice) -> tuple[_MenuRefiner, BestChoice]:
        """Take over what the first selection changed among ties, and search around it.

        Where thousands of entries are tied at the prices, the best selection is any of very many,
        and few of those are near the budgets.
        """
        if known.changed is None:
            return self, known
        best, changed = self.best, known.changed
        tied = best.loss[changed.entries] <= _TIED_LOSS
        entry = Changed(changed.groups[tied], changed.entries[tied]).choice(best)
        value = self.menus.base + float(self.menus.value[entry].sum())
        left = self.menus.room - self.menus.cost[:, entry].sum(axis=1)
        # The same prices and losses: an entry of no loss is as good a base as the first.
        around = replace(self, best=replace(best, entry=entry, value=value, left=left))
        rest = Changed(changed.groups[~tied], changed.entries[~tied])
        return around, around._with(known, rest)

    def done(self, known: BestChoice) -> bool:
        """Tell whether nothing is left to do: proven, impossible, or close enough."""
        distance = known.bound - self.best.value - known.gain
        return known.proven or known.bound == -np.inf or distance <= self.limits.gap * known.bound

    def search(self, known: BestChoice, number: int) -> BestChoice | None:
        """Look at all selections that lose no more than a reach; None if there are too many."""
        open_loss = self._open(known)
        entries = self.best.others(open_loss)
        losses = self.best.loss[entries]
        reach = certain = open_loss
        if len(entries) > number:
            # Entries beyond this are not looked at: what is proven holds up to this loss only.
            reach = certain = float(np.partition(losses, number)[number])
            entries = entries[losses <= reach]
        if len(entries) > _TIES * number:
            # Of so many that lose the same a few may find better, and can prove nothing.
            reach, certain = open_loss, 0.0
            # Evenly over all ties, at another place in each round.
            spread = (np.arange(_TIED) + number / _LAST) * (len(entries) / (_TIED + 1))
            entries = entries[spread.astype(np.int64)]
        options = self._options(entries)
        top = float(self.best.price @ self.best.left)
        problem = SearchProblem(
            left=self.best.left,
            grain=self.menus.grain,
            price=self.best.price,
            reach=reach,
            below=top - known.gain - self._need(known),
            check=lambda chosen: self.check(self._taken(options, chosen).choice(self.best)),
            checks=max(4, _SUMMED // max(1, self.menus.size)),
        )
        result = search(options, problem)
        if result is None:
            return None
        if result.loss < np.inf:
            known = self._with(known, self._taken(options, result.options))
        # All of the distance was searched and nothing fits: there is no choice.
        elif known.changed is None and min(result.least, certain) >= open_loss:
            return replace(known, bound=-np.inf)
        ceiling = self.best.bound - self.best.value
        return self._settled(
            known, max(top - result.least if certain else np.inf, ceiling - certain)
        )

    def residual(self, known: BestChoice) -> BestChoice:
        """Hand what is still open to CBC."""
        open_loss = self._open(known)
        entries = self.best.others(open_loss)
        # No open entry leaves nothing to decide.
        if not 0 < len(entries) <= _ENTRIES_FOR_CBC:
            return known
        options = self._options(entries)
        distance = min(open_loss, self.best.bound)
        allowed = self.limits.gap / 2 * known.bound
        room = self.best.left + self.menus.grain
        bound = np.inf
        for attempt in range(ATTEMPTS):
            chosen, finished = _cbc(
                self.menus, self.best, options, room, distance, allowed, self.limits.nodes
            )
            if chosen is None:
                # Only with the room as given does "infeasible" prove anything.
                if finished and not attempt and known.changed is None:
                    return replace(known, bound=-np.inf)
                # CBC finished without an answer in the room as given: nothing open is better.
                if finished and not attempt:
                    bound = known.gain
                break
            found = self._taken(options, chosen)
            gain = found.gain(self.menus, self.best)
            if finished and not attempt:
                bound = max(gain, known.gain) + allowed
            left = self._left(found)
            inside = bool((left >= -self.menus.grain).all())
            if inside and ((left >= self.menus.grain).all() or self.check(found.choice(self.best))):
                if gain > known.gain + self._need(known) / 2:
                    known = self._with(known, found)
                break
            # Twice what is missing: CBC may use up its tolerance again.
            room = room - np.maximum(2 * (self.menus.grain - left), 0)
        return self._settled(known, bound)

    def _options(self, entries: Ints) -> list[_Options]:
        """Return the menus of these entries, each with its best entry first."""
        group = self.menus.group[entries]
        found = []
        # Entries are in order, so that those of one menu are neighbours.
        for part in np.split(entries, np.flatnonzero(np.diff(group)) + 1) if len(group) else ():
            usual = self.best.entry[self.menus.group[part[0]]]
            # First of all the option to leave the menu as it is.
            own = np.append(usual, part)
            shift = self.menus.cost[:, own] - self.menus.cost[:, usual, None]
            found.append(_Options(own, shift, self.best.loss[own]))
        return found

    def _taken(self, options: list[_Options], chosen: list[int]) -> Changed:
        """Return the selection that takes one option of each menu."""
        entries = np.array(
            [each.entries[pick] for each, pick in zip(options, chosen, strict=True)], dtype=np.int64
        )
        groups = self.menus.group[entries]
        moved = entries != self.best.entry[groups]
        return Changed(groups[moved], entries[moved])

    def _left(self, changed: Changed) -> Floats:
        usual = self.best.entry[changed.groups]
        shift = self.menus.cost[:, changed.entries] - self.menus.cost[:, usual]
        return np.asarray(self.best.left - shift.sum(axis=1))

    def _with(self, known: BestChoice, changed: Changed) -> BestChoice:
        return replace(known, changed=changed, gain=changed.gain(self.menus, self.best))

    def _open(self, known: BestChoice) -> float:
        """Return what a better selection can lose at most against the bound of the prices."""
        if known.changed is None:
            return self.best.bound * (1 + 1e-9)  # all of it: values are not negative
        return max(0.0, self.best.bound - self.best.value - known.gain - self._need(known))

    def _need(self, known: BestChoice) -> float:
        return need(known, self.menus.step)

    def _settled(self, known: BestChoice, gain: float) -> BestChoice:
        return settled(known, self.best.value, self.menus.step, gain)


def _cbc(
    menus: Menus,
    best: Best,
    options: list[_Options],
    room: Floats,
    distance: float,
    allowed: float,
    nodes: int,
) -> tuple[list[int] | None, bool]:
    """Return the option of each menu that CBC proposes, if any, and whether it finished."""
    import pulp

    scale = DISTANCE / max(distance, 1e-300)
    model = pulp.LpProblem("menus", pulp.LpMinimize)
    taken = [
        [model.add_variable(f"x{g}_{e}", 0, 1, pulp.LpInteger) for e in range(1, len(own.entries))]
        for g, own in enumerate(options)
    ]
    pairs = [
        (x, own, e + 1) for own, row in zip(options, taken, strict=True) for e, x in enumerate(row)
    ]
    # Against the best entry: worth = loss at the prices, less what the prices pay for the change.
    model += pulp.LpAffineExpression(
        [(x, float((own.loss[e] - best.price @ own.shift[:, e]) * scale)) for x, own, e in pairs]
    )
    # The best entry has no variable: none of the others taken means that it stays.
    for row in taken:
        if len(row) > 1:
            model += pulp.LpAffineExpression([(x, 1.0) for x in row]) <= 1
    largest = [float(max(abs(own.shift[r]).max() for own in options)) for r in range(len(room))]
    for resource, most in enumerate(room):
        # Whole costs are scaled by a power of two, which changes none of their digits.
        by = ROOM if menus.grain[resource] > 0 else 1 / max(largest[resource], 2.0**-20)
        by = by if menus.grain[resource] > 0 else float(2.0 ** np.ceil(np.log2(by) + 20))
        held = [
            (x, float(own.shift[resource, e] * by)) for x, own, e in pairs if own.shift[resource, e]
        ]
        model += pulp.LpAffineExpression(held) <= float(most * by)
    answered, finished = run(model, allowed / 2 * scale, nodes)
    if not answered:
        return None, finished
    # CBC leaves binaries off by up to 1e-6, and unset variables None.
    proposed = [
        next((e + 1 for e, x in enumerate(row) if (x.value() or 0.0) > 0.5), 0) for row in taken
    ]
    return proposed, finished
