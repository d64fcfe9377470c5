"""Pruning methods, by name. A new method is a function `Problem -> Choice` and one row here."""

from __future__ import annotations

from rfprune.core.registry import Entry, Registry, a_type
from rfprune.errors import SpecError
from rfprune.methods.problem import Choice, Method, Problem, check_choice

__all__ = ["METHODS", "Choice", "Method", "Problem", "check_choice", "find_method"]

METHODS = Registry(
    "method",
    {
        "knapsack": Entry(
            "rfprune.methods.named_methods:KNAPSACK",
            "highest total value under all budgets at once, proven optimal (arXiv 2308.05170)",
        ),
        "greedy": Entry(
            "rfprune.methods.named_methods:GREEDY", "by value per share of the scarcest budget"
        ),
        "hls4ml_greedy": Entry(
            "rfprune.methods.named_methods:HLS4ML_GREEDY",
            "by value per cost until one does not fit, as in hls4ml's own API",
        ),
        "akperl": Entry(
            "rfprune.methods.akperl.selecting:AKPERL",
            "a deep Q-network decides layer by layer, from the validation score",
        ),
        "uniform": Entry(
            "rfprune.methods.named_methods:UNIFORM", "the same fraction of every layer"
        ),
        "random": Entry("rfprune.methods.named_methods:RANDOM", "random groups, the reference"),
        "magnitude": Entry(
            "rfprune.methods.named_methods:MAGNITUDE",
            "unstructured: the smallest weights, one threshold",
        ),
        "l1": Entry(
            "rfprune.methods.named_methods:L1", "unstructured, with an L1 penalty on every weight"
        ),
        "widths": Entry(
            "rfprune.methods.named_methods:WIDTHS",
            "a value from a menu for every weight, a width for every type, in LUTs (and DSPs)",
        ),
        "ebops": Entry(
            "rfprune.methods.named_methods:EBOPS",
            "a width for every weight and activation, learned by gradient as HGQ does",
        ),
        "none": Entry("rfprune.methods.named_methods:NONE", "no pruning: the dense network"),
    },
)


def find_method(name: str) -> Method:
    """Return a method by name.

    Raises:
        UnknownNameError: no such method; names the nearest.
        SpecError: the name leads to something else.
    """
    method = METHODS.load(name)
    if not isinstance(method, Method):
        raise SpecError(
            f"prune.method: '{name}' is {a_type(method)}, not a rfprune.methods.Method."
        )
    return method
