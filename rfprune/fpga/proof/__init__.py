"""What is proven of an export for an FPGA.

`rows` makes the rows, `module` compares the user's module with rfprune's graph, `cpp` that graph
with the C++ of an hls4ml project, `circuit` an adder graph with its RTL (`verilator`) and its
netlist (`netlist`), `folder` does it again for an exported folder.
"""
