"""hls4ml at arm's length: conversion that is read back, generated code that is counted, C++ that is
compared with torch. The only room that imports hls4ml.
"""

from rfprune.hls.codegen import LayerCode, read_project
from rfprune.hls.convert import Conversion, convert
from rfprune.hls.simulate import Parity, compare

__all__ = ["Conversion", "LayerCode", "Parity", "compare", "convert", "read_project"]
