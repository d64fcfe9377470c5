"""How products of two tensors, softmax, and the attention made of both are lowered."""

from __future__ import annotations

import math
import operator
from string import ascii_lowercase
from typing import Any

import torch
from torch import fx

from rfprune.fpga.layers.calls import Call, Lowered, is_data
from rfprune.fpga.layers.operators import Product, Softmax
from rfprune.fpga.layers.tracing import Shape, shape_of_node

__all__ = ["attention", "einsum", "matmul", "softmax"]

_WEIGHT = "of a constant. Of a weight take nn.Linear"
#: What a scale in front of a softmax can be written as, and whether it divides.
_SCALES = {
    **dict.fromkeys((operator.mul, torch.mul, torch.multiply, "mul"), False),
    **dict.fromkeys((operator.truediv, torch.div, "div"), True),
}
#: What only hands on what it gets, in another shape at most.
_VIEWS = ("view", "reshape", "flatten", "squeeze", "unsqueeze", "contiguous", "float")


def matmul(call: Call) -> Lowered:
    """The matrices of each row of a minibatch, multiplied."""
    a, b = call.argument(0, "input"), call.argument(1, "other", call.argument(1, "mat2"))
    if not (is_data(a) and is_data(b)):
        raise call.refused(_WEIGHT)
    first, second = shape_of_node(a), shape_of_node(b)
    if len(first) != len(second) or len(first) < 2:
        raise call.refused(
            f"of samples of shape {first} and {second}. Give both as many axes, two or more"
        )
    heads = ascii_lowercase[: len(first) - 2]
    made = _product(call, (first, second), f"{heads}xy", f"{heads}yz", f"{heads}xz")
    return call.lowered(made, inputs=(a, b))


def einsum(call: Call) -> Lowered:
    """Products of two tensors, summed up over the axes that the result has not."""
    equation, *operands = call.node.args
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = list(operands[0])
    if not isinstance(equation, str):
        raise call.refused("of axes by number. Take letters")
    if len(operands) != 2:
        raise call.refused(f"of {len(operands)} tensors. Take two at a time")
    a, b = operands
    if not (is_data(a) and is_data(b)):
        raise call.refused(_WEIGHT)
    shapes = shape_of_node(a), shape_of_node(b)
    letters = _letters(call, equation, shapes)
    rows = letters[2][:1]
    if any(part[:1] != rows or rows in part[1:] for part in letters):
        raise call.refused(
            f"'{equation}', which mixes the rows of a minibatch. Keep the first axis"
        )
    return call.lowered(_product(call, shapes, *(part[1:] for part in letters)), inputs=(a, b))


def _letters(call: Call, equation: str, shapes: tuple[Shape, Shape]) -> tuple[str, str, str]:
    """Return the letters of both tensors and of the result, rows first and none left out."""
    reads, arrow, result = equation.replace(" ", "").partition("->")
    first, second = reads.split(",")
    if not arrow:
        # What stands once, in the order of the alphabet, behind the axes that have no letter.
        once = sorted(letter for letter in set(reads) - set(".,") if reads.count(letter) == 1)
        result = "..." * ("..." in reads) + "".join(once)
    unnamed = {
        len(shape) + 1 - len(part.replace("...", ""))
        for part, shape in zip((first, second), shapes, strict=True)
        if "..." in part
    }
    if len(unnamed) > 1:
        raise call.refused(f"'{equation}', where '...' stands for unlike numbers of axes")
    unused = [letter for letter in ascii_lowercase if letter not in equation]
    dots = "".join(unused[: max(unnamed, default=0)])
    first, second, result = (part.replace("...", dots) for part in (first, second, result))
    return first, second, result


def _product(
    call: Call, shapes: tuple[Shape, Shape], first: str, second: str, result: str
) -> Product:
    """Return the product of samples of two shapes, by a letter for each axis."""
    if any(len(set(part)) != len(part) for part in (first, second, result)):
        raise call.refused("with an axis twice in one tensor")
    if (set(first) ^ set(second)) - set(result):
        raise call.refused("with a sum over an axis of one tensor alone. Take sum() first")
    sizes = dict(zip(first, shapes[0], strict=True))
    for letter, size in zip(second, shapes[1], strict=True):
        if sizes.get(letter, size) != size:
            raise call.refused(
                f"where an axis of {min(sizes[letter], size)} is repeated. Take expand() first"
            )
    return Product(first, second, result)


def softmax(call: Call) -> Lowered:
    """Softmax over an axis, a scale in front of it included."""
    module: Any = call.module
    axis = call.argument(1, "dim") if module is None else module.dim
    if axis is None:
        raise call.refused("without an axis. Give dim")
    (axis,) = call.axes(axis)
    if _is_put_out(call.node):
        raise call.refused("as an output. Leave it out: the outputs are logits")
    source, scale = _scaled(call.source)
    return call.lowered(Softmax(axis, scale), inputs=(source,))


def _scaled(node: fx.Node) -> tuple[fx.Node, float]:
    """Return what is multiplied by a number, and the number; the node itself and 1 otherwise."""
    if node.target not in _SCALES or len(node.args) != 2 or node.kwargs:
        return node, 1.0
    source, number = node.args
    if isinstance(source, int | float) and not _SCALES[node.target]:
        source, number = number, source
    if not (isinstance(source, fx.Node) and isinstance(number, int | float) and number > 0):
        return node, 1.0
    return source, 1 / number if _SCALES[node.target] else float(number)


def _is_put_out(node: fx.Node) -> bool:
    """Return whether something is an output of the network, in whatever shape."""
    return any(
        user.op == "output"
        or (str(getattr(user.target, "__name__", user.target)) in _VIEWS and _is_put_out(user))
        for user in node.users
    )


def attention(call: Call) -> Lowered:
    """``F.scaled_dot_product_attention``: a product, a softmax over the keys, and a product."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    query, key, value, mask, dropout, causal = (
        call.argument(position, name) for position, name in enumerate(names)
    )
    if mask is not None or causal:
        raise call.refused("with a mask. Write it as products and a softmax of sums")
    if dropout:
        raise call.refused(f"with dropout_p={dropout} in evaluation. Give it in training alone")
    if call.argument(7, "enable_gqa", False):
        raise call.refused("with enable_gqa. Repeat the heads of key and value")
    if not all(map(is_data, (query, key, value))):
        raise call.refused(_WEIGHT)
    (*batch, queries, size), keys = shape_of_node(query), shape_of_node(key)
    scale = call.argument(6, "scale")
    scale = 1 / math.sqrt(size) if scale is None else float(scale)
    if scale <= 0:
        raise call.refused(f"with scale={scale:g}. Give one above 0")
    h = ascii_lowercase[: len(batch)]
    of_scores = (*batch, queries, keys[-2])
    scores = _product(call, ((*batch, queries, size), keys), f"{h}qy", f"{h}zy", f"{h}qz")
    found = _product(call, (of_scores, shape_of_node(value)), f"{h}qz", f"{h}zv", f"{h}qv")
    return Lowered((scores, Softmax(len(batch) + 1, scale), found), (query, key), ((), (value,)))
