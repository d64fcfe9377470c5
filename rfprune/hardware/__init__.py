"""Facts of FPGAs and of hls4ml: parts, fixed-point types, memories, reuse factors.

Knows numbers and rules, no networks. Importing it does not import torch.
"""
