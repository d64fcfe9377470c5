"""What the report of an export says of the rows that its network takes."""

from __future__ import annotations

from collections.abc import Sequence

from rfprune.core.markdown import amount, grid
from rfprune.data import Dataset, Scaling

__all__ = ["scaling_report"]

#: Features that the table shows; all of them are in ``scaling.json``.
_SHOWN = 32


def scaling_report(scaling: Scaling, data: Dataset, folded: Sequence[str]) -> str:
    """Return what is done to a row before the first layer, as Markdown.

    Args:
        scaling: of the data that the network was trained on.
        data: names the features.
        folded: layers that took the scaling into their weights; empty if none did.
    """
    if scaling.is_identity:
        return "The network takes rows as they are in the data; nothing is scaled."
    if folded:
        layers = ", ".join(f"`{name}`" for name in folded)
        text = (
            f"The network and the C++ take raw rows: the scaling of the training, {_FORMULA}, is "
            f"in the weights of {layers}."
        )
    else:
        text = (
            "`rfprune.load`, `model.onnx` and the model in MLflow take raw rows, and scale them by "
            f"{_FORMULA}. The C++ takes scaled rows: `test_vectors.npz` holds both, and "
            "`scaling.json` the numbers."
        )
    sections = [text]
    for name, offset in scaling.offset.items():
        pairs = list(
            zip(offset.flatten().tolist(), scaling.scale[name].flatten().tolist(), strict=True)
        )
        columns = data.columns.get(name) or tuple(str(number) for number in range(len(pairs)))
        rows = [
            [str(columns[i]) if len(columns) == len(pairs) else str(i), amount(a), amount(b)]
            for i, (a, b) in enumerate(pairs[:_SHOWN])
        ]
        sections += [f"Input `{name}`:"] if name else []
        sections.append(grid(["feature", "offset", "scale"], rows))
        if len(pairs) > _SHOWN:
            sections.append(f"... and {len(pairs) - _SHOWN} more.")
    return "\n\n".join(sections)


_FORMULA = "`(raw - offset) / scale`"
