"""A network on an FPGA, through hls4ml: the target that the section ``hardware`` of a file names.

`rfprune.fpga.target` brings it all together; the rest of rfprune reaches it by name only.
"""
