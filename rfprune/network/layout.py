"""What hls4ml builds without a word, and wrong, because of how features lie or arrive.

Its change to channels last puts a transpose between a tensor and the tensor's *first* reader alone
(`convert_to_channels_last.py`; ``insert_node`` of ``model/graph.py``, version 1.3): before every
Flatten, and in io_parallel behind the input. Any other reader of that tensor gets it the wrong way
round. What io_stream cannot take of single layers is noted at each operation
(`rfprune.network.trace`).
"""

from __future__ import annotations

from rfprune.errors import NetworkError
from rfprune.network.trace import Network, Operation, without_identities

__all__ = ["check_layout"]


def check_layout(network: Network, io_type: str) -> None:
    """Raise a NetworkError, before any training, if hls4ml would build another network."""
    if io_type == "io_stream":
        for operation in network.operations:
            if operation.stream_fault is not None:
                raise NetworkError(
                    f"{operation.path}: hls4ml's io_stream cannot take a {operation.type} layer "
                    f"with {operation.stream_fault}. Change it, or use io_parallel."
                )
    if not network.channels_last:
        _check_transposes(network, io_type)


def _check_transposes(network: Network, io_type: str) -> None:
    first: dict[str, Operation] = {}
    converted = without_identities(network.operations)
    made = {operation.name for operation in converted}
    for operation in converted:
        flattens = operation.type == "flatten" and len(operation.in_shape) > 1
        if flattens and len(operation.out_shape) > 1:
            raise NetworkError(
                f"{_shown(operation)}: flattens {operation.in_shape} to {operation.out_shape}, but "
                "hls4ml takes only a Flatten to one axis."
            )
        for name in operation.inputs:
            other = first.setdefault(name, operation)
            transposed = name not in made and io_type == "io_parallel"
            if other is operation or len(operation.in_shape) < 2 or not (flattens or transposed):
                continue
            way_out = "io_stream takes it" if transposed and not flattens else "flatten it first"
            raise NetworkError(
                f"{_shown(operation)} reads the same features as {_shown(other)}, and hls4ml turns "
                f"them to channels last for the first of the two alone ({way_out})."
            )


def _shown(operation: Operation) -> str:
    return operation.path or operation.name
