"""The second path: a planned network wholly unrolled, as a graph of adders by alkaid.

Written apart from the first: it reads the folded network and its types, and nothing of hls4ml.
"""
