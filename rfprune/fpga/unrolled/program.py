"""alkaid's graph as plain arrays of whole numbers, for what computes it without alkaid.

::

    opcode sign integer fraction    (operations,): what it does, and the bits of what it puts out
    reads data                      flat; those of operation i lie at START[i] to START[i + 1] of
                                    ``reads_start`` and ``data_start``
    tables, tables_start            entries of all tables, in the same way
    out_place out_fraction out_negative     (outputs,): the operation, or -1 for zero

Operations: ALIR of alkaid 0.8 (``alkaid/types.py``, ``CombLogic.exec_op``).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np

from rfprune.core.arrays import IntArray
from rfprune.errors import NetworkError

__all__ = ["program_of"]

_INPUT, _TABLE = -1, 8
_KNOWN = range(-2, 12)


def program_of(logic: Any) -> dict[str, IntArray]:
    """Return the arrays of a graph without registers.

    Args:
        logic: alkaid's ``CombLogic``.

    Raises:
        NetworkError: an operation of another kind.
    """
    data = []
    for index, op in enumerate(logic.ops):
        if op.opcode not in _KNOWN:
            raise NetworkError(
                f"operation {index} of the graph of adders is of kind {op.opcode}. Allowed: "
                f"{_KNOWN[0]} to {_KNOWN[-1]}; use hls4ml (backend Vitis)."
            )
        own = list(op.data)
        if op.opcode == _INPUT:
            own = [own[0], logic.inp_shifts[own[0]]]
        elif op.opcode == _TABLE:
            low = logic.ops[op.addr[0]].qint
            spec = logic.lookup_tables[own[0]].spec
            own = [own[0], round(low.min / low.step), int(spec.out_kif[2])]
        data.append(own)
    kifs = [op.qint.kif for op in logic.ops]
    places, shifts = logic.out_idxs, logic.out_shifts
    out = [kifs[p][2] - s if p >= 0 else 0 for p, s in zip(places, shifts, strict=True)]
    return {
        "opcode": _whole(op.opcode for op in logic.ops),
        "sign": _whole(kif[0] for kif in kifs),
        "integer": _whole(kif[1] for kif in kifs),
        "fraction": _whole(kif[2] for kif in kifs),
        **_flat("reads", [op.addr for op in logic.ops]),
        **_flat("data", data),
        **_flat("tables", [each.table for each in logic.lookup_tables or ()]),
        "out_place": _whole(places),
        "out_fraction": _whole(out),
        "out_negative": _whole(logic.out_negs),
    }


def _whole(numbers: Iterable[Any]) -> IntArray:
    return np.array([int(each) for each in numbers], dtype=np.int64)


def _flat(name: str, lists: list[Any]) -> dict[str, IntArray]:
    """Return lists one after the other, and where each begins."""
    starts = accumulate((len(each) for each in lists), initial=0)
    return {
        name: _whole(number for each in lists for number in each),
        f"{name}_start": _whole(starts),
    }
