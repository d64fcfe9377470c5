"""A CNN on a processor: the target that the section ``edge`` of a file names.

`rfprune.edge.target` brings kernels, devices and the agent's game together for the pruning loop;
the rest of rfprune reaches it by name only. Knows no FPGA.
"""
