"""A first selection within the budgets: the best at the prices, with the cheapest changes.

The best selection at the prices can hold a little too much. Changes are made where they lose least
for what they free, until all budgets are met; then, while something fits, where they gain most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfprune.knapsack.instance import Floats, Ints
from rfprune.knapsack.menus.open_menus import Best, Menus

__all__ = ["Changed", "repair"]

#: Entries that are tried first, those of least loss.
_NEAR = 4096
_SAMPLE = 1 << 17
#: Rounds of changes to meet the budgets, and then to use what is left of them.
_ROUNDS = 256
#: Losses that differ by no more, of values up to 1, are one loss but for rounding.
_ROUNDED = 1e-12
#: Of two changes without loss the one that frees or gains more comes first.
_NO_LOSS = 1e-300


@dataclass(frozen=True)
class Changed:
    """A selection as its difference from the best at the prices.

    Attributes:
        groups: (n,) the menus that take another entry.
        entries: (n,) which.
    """

    groups: Ints
    entries: Ints

    def gain(self, menus: Menus, best: Best) -> float:
        """Return what the selection is worth against the best at the prices."""
        return float((menus.value[self.entries] - menus.value[best.entry[self.groups]]).sum())

    def choice(self, best: Best) -> Ints:
        """Return (G,) the entry of every menu."""
        choice = best.entry.copy()
        choice[self.groups] = self.entries
        return choice


def repair(menus: Menus, best: Best, gap: float) -> Changed | None:
    """Return a selection within the budgets, or None if none was found.

    More entries are tried while the selection is further from the bound than `gap` of it.
    """
    known: Changed | None = None
    gained = -np.inf
    number = len(best.loss) - menus.size
    # A limit from a sample is near enough, and saves looking at all of them.
    sample = best.loss[:: max(1, len(best.loss) // _SAMPLE)]
    near = _NEAR
    while True:
        share = (near + menus.size) / len(best.loss) if number else 1.0
        limit = float(np.quantile(sample, share)) if share < 1 else np.inf
        entries = best.others(limit + _ROUNDED)
        found = _repaired(menus, best, entries)
        if found is not None and (gain := found.gain(menus, best)) > gained:
            known, gained = found, gain
        close = best.bound - best.value - gained <= gap * best.bound
        # Far from the bound more entries are tried once; without any selection, until all are.
        if close or len(entries) == number or (known is not None and near > _NEAR):
            return known
        near *= 16


def _repaired(menus: Menus, best: Best, entries: Ints) -> Changed | None:
    """Change the best selection by some entries (n,) until it is within the budgets, then fill."""
    if not len(entries):
        return Changed(entries, entries) if (best.left >= menus.grain).all() else None
    group = menus.group[entries]
    groups = np.unique(group)
    # Menus that no change touches stay out of every array below.
    place = np.searchsorted(groups, group)
    now = best.entry[groups]
    # What is best itself can be gone back to.
    entries, place = np.append(entries, now), np.append(place, np.arange(len(groups)))
    cost, value = menus.cost[:, entries], menus.value[entries]
    loss = best.loss[entries]
    left, grain = best.left.copy(), menus.grain[:, None]
    # In shares of each budget, so that what is short of unlike resources can be added up.
    unit = np.maximum(abs(menus.room), np.finfo(np.float64).tiny)[:, None]
    for _ in range(_ROUNDS):
        short = np.maximum(grain - left[:, None], 0)
        if not short.any():
            break
        saved = menus.cost[:, now][:, place] - cost
        # What all budgets together are short of falls with every round, so that this ends.
        after = np.maximum(grain - left[:, None] - saved, 0)
        freed = ((short - after) / unit).sum(axis=0)
        worse = np.maximum(loss - best.loss[now][place], 0) + _NO_LOSS
        rank = np.divide(worse, freed, out=np.full(len(freed), np.inf), where=freed > 0)
        picks = _one_of_each(place, rank)
        after = np.maximum(grain - left[:, None] - np.cumsum(saved[:, picks], axis=1), 0)
        total = (after / unit).sum(axis=0)
        most = int(total.argmin()) + 1 if len(picks) else 0
        # No change brings the budgets nearer: others would be needed.
        if not most or total[most - 1] >= (short / unit).sum():
            return None
        picks = picks[:most]
        left += saved[:, picks].sum(axis=1)
        now[place[picks]] = entries[picks]
    else:
        return None
    for _ in range(_ROUNDS):
        saved = menus.cost[:, now][:, place] - cost
        gain = value - menus.value[now][place]
        fits = (left[:, None] + saved >= grain).all(axis=0) & (gain > 0)
        # Least loss first; of equal losses the greater gain.
        picks = _one_of_each(place, np.where(fits, best.loss[entries] - gain * _NO_LOSS, np.inf))
        if not len(picks):
            break
        inside = (left[:, None] + np.cumsum(saved[:, picks], axis=1) >= grain).all(axis=0)
        # The first fits by itself.
        picks = picks[: int(inside.argmin()) if not inside.all() else len(picks)]
        left += saved[:, picks].sum(axis=1)
        now[place[picks]] = entries[picks]
    moved = now != best.entry[groups]
    return Changed(groups[moved], now[moved])


def _one_of_each(place: Ints, rank: Floats) -> Ints:
    """Return (n,) the change of least finite rank of each menu, the lowest rank first."""
    order = np.flatnonzero(np.isfinite(rank))
    order = order[np.argsort(rank[order], kind="stable")]
    # One change per menu and round: a second would count what the first has freed again.
    _, first = np.unique(place[order], return_index=True)
    return np.asarray(order[np.sort(first)])
