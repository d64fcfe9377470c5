"""hls4ml at arm's length, and the only room that imports it.

Conversion is read back, generated code is counted, and the C++ simulation is compared with torch.
"""

from rfprune.hls.codegen import LayerCode, read_project
from rfprune.hls.convert import Conversion, convert
from rfprune.hls.simulate import Parity, compare

__all__ = ["Conversion", "LayerCode", "Parity", "compare", "convert", "read_project"]
