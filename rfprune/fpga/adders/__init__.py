"""Networks whose weights are constants in a graph of adders: strategy ``distributed_arithmetic``.

`chain` reads which layers follow each other, `digits` what a weight costs, `numbers` what every
weight and activation is rounded to, `level` is one step of the method ``widths``, `graph` builds
the adder graph, `deployment` is what a trial sees.
"""
