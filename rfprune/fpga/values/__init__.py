"""Planned networks whose weights take values from menus: what hls4ml or alkaid builds at RF 1.

`places` reads which numbers have a type in common, `numbers` holds what every weight and type is
now, `costs` what a value costs in LUTs and DSPs, `fisher` what it loses, `rung` is one step of the
method ``widths``, `prunable` and `deployment` are what a trial sees. Networks of Linear layers with
strategy ``distributed_arithmetic``, where every activation has a width of its own, are in
`rfprune.fpga.adders`.
"""
