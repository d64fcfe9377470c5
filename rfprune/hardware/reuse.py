"""Reuse factors that hls4ml keeps, and the one it would silently take instead.

A layer with ``n_in`` products per output and ``n_out`` outputs holds ``T = n_in * n_out``
weights. hls4ml (`backends/fpga/fpga_backend.py`, ``get_valid_reuse_factors``) accepts RF iff ::

    T % RF == 0  and  (RF divides n_in,  or  RF = k * n_in with k dividing n_out)

and otherwise rounds to the nearest valid value with a printed line. Rounding moves the borders of
the weights that one multiplier serves, so nothing here ever rounds on its own: it only says what is
valid.

Above ``n_in`` hls4ml keeps a factor in convolutions of io_parallel, too, but what it builds there
in strategy resource sums the wrong products (`nnet_conv2d_resource.h`) or stops at an assertion
(`nnet_conv1d_resource.h`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rfprune.errors import ReuseFactorError, SpecError

__all__ = [
    "LARGEST_PARTITION",
    "LayerSize",
    "LayerSizes",
    "check_reuse_factor",
    "nearest_valid_reuse_factor",
    "partitioned",
    "resolve_strategy",
    "valid_reuse_factors",
]

#: Elements that the vendor's HLS unrolls or partitions at most: ``config_array_partition
#: -maximum_size 4096`` in hls4ml's ``build_prj.tcl``; users' reports in hls4ml #904, #1013, #1157.
LARGEST_PARTITION = 4096


class LayerSize(NamedTuple):
    """What decides which reuse factors a layer can have.

    Attributes:
        n_in: products per output.
        n_out: outputs per position.
        largest: reuse factor above which hls4ml builds something wrong, outside strategy latency;
            None if there is none.
    """

    n_in: int
    n_out: int
    largest: int | None = None


#: Layer name to size; a plain ``(n_in, n_out)`` has no largest.
LayerSizes = Mapping[str, LayerSize | tuple[int, int]]


def _divisors(n: int) -> list[int]:
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})


def valid_reuse_factors(
    n_in: int, n_out: int, strategy: str = "auto", largest: int | None = None
) -> list[int]:
    """Return every reuse factor that hls4ml keeps for an ``n_in`` x ``n_out`` layer, ascending.

    Closed form of hls4ml's own O(n_in * n_out) loop: the divisors of ``n_in``, and ``k * n_in`` for
    the divisors ``k`` of ``n_out``.

    Args:
        n_in: products per output.
        n_out: outputs per position.
        strategy: resource_unrolled (which auto takes above 1) loses the largest value: there
            hls4ml drops it before it looks for the nearest (``set_closest_reuse_factor``).
        largest: see `LayerSize`.
    """
    valid = sorted({*_divisors(n_in), *(k * n_in for k in _divisors(n_out))})
    if strategy in ("auto", "resource_unrolled") and len(valid) > 1:
        valid = valid[:-1]
    if largest is None or strategy == "latency":
        return valid
    return [rf for rf in valid if rf <= largest]


def partitioned(n_weights: int, reuse_factor: int, strategy: str) -> int:
    """Return how many elements of a layer the vendor's HLS unrolls or partitions.

    hls4ml partitions the products of a latency layer completely, whatever the reuse factor
    (``nnet_dense_latency.h``), and the weights of the others into one block per multiplier
    (``nnet_dense_resource.h``).

    Args:
        n_weights: of the layer.
        reuse_factor: weights per multiplier.
        strategy: ``auto`` is latency at a reuse factor of 1.
    """
    latency = strategy == "latency" or (strategy == "auto" and reuse_factor == 1)
    return n_weights if latency else -(-n_weights // reuse_factor)


def nearest_valid_reuse_factor(
    n_in: int, n_out: int, reuse_factor: int, strategy: str = "auto"
) -> int:
    """Return what hls4ml would take instead of `reuse_factor`; a tie goes to the smaller one."""
    valid = valid_reuse_factors(n_in, n_out, strategy)
    return min(valid, key=lambda rf: (abs(rf - reuse_factor), rf))


def check_reuse_factor(
    name: str,
    n_in: int,
    n_out: int,
    reuse_factor: int,
    strategy: str = "auto",
    largest: int | None = None,
) -> None:
    """Raise if hls4ml would build layer `name` otherwise than with the reuse factor asked for.

    Raises:
        ReuseFactorError: names the layer, what hls4ml would do, and every valid value.
    """
    valid = valid_reuse_factors(n_in, n_out, strategy, largest)
    if reuse_factor in valid:
        return
    nearest = nearest_valid_reuse_factor(n_in, n_out, reuse_factor, strategy)
    does = (
        "build a convolution in io_parallel that sums wrong products"
        if nearest == reuse_factor
        else f"silently use {nearest}"
    )
    raise ReuseFactorError(
        f"{name}: reuse factor {reuse_factor} does not suit {n_in}x{n_out}; hls4ml would {does}. "
        f"Valid: {' '.join(map(str, valid))}."
    )


def resolve_strategy(name: str, asked: str, reuse_factor: int, valid: list[int]) -> str:
    """Return the strategy that hls4ml builds for layer `name`; ``auto`` picks the one that prunes.

    Raises:
        SpecError: resource_unrolled at reuse factor 1, which hls4ml silently turns into resource.
    """
    if asked == "auto":
        return "latency" if reuse_factor == 1 else "resource_unrolled"
    if asked == "resource_unrolled" and reuse_factor == 1:
        above = next((rf for rf in valid if rf > 1), None)
        other = f", or a reuse factor from {above} on" if above else ""
        raise SpecError(
            f"{name}: strategy resource_unrolled needs a reuse factor above 1; at 1 hls4ml would "
            f"silently build resource, in which nothing that is pruned vanishes. Take strategy "
            f"latency or auto{other}."
        )
    return asked
