"""hls4ml at arm's length, and the only room that imports it.

Conversion is read back, generated code is counted, and the C++ simulation is compared with torch.
"""

from rfprune.fpga.hls.convert import PROJECT_NAME, Conversion, convert
from rfprune.fpga.hls.generated_code import LayerCode, read_project
from rfprune.fpga.hls.parity import (
    Compared,
    LayerParity,
    Parity,
    by_name,
    compare,
    layers_alone,
    outputs_of_cpp,
    side_by_side,
)
from rfprune.fpga.hls.simulate import (
    Array,
    Rows,
    Simulation,
    compiled,
    streamed,
    written,
)

__all__ = [
    "PROJECT_NAME",
    "Array",
    "Compared",
    "Conversion",
    "LayerCode",
    "LayerParity",
    "Parity",
    "Rows",
    "Simulation",
    "by_name",
    "compare",
    "compiled",
    "convert",
    "layers_alone",
    "outputs_of_cpp",
    "read_project",
    "side_by_side",
    "streamed",
    "written",
]
