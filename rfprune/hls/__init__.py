"""hls4ml at arm's length, and the only room that imports it.

Conversion is read back, generated code is counted, and the C++ simulation is compared with torch.
"""

from rfprune.hls.codegen import LayerCode, read_project
from rfprune.hls.convert import PROJECT_NAME, Conversion, convert
from rfprune.hls.parity import Compared, LayerParity, Parity, compare
from rfprune.hls.simulate import Array, streamed

__all__ = [
    "PROJECT_NAME",
    "Array",
    "Compared",
    "Conversion",
    "LayerCode",
    "LayerParity",
    "Parity",
    "compare",
    "convert",
    "read_project",
    "streamed",
]
