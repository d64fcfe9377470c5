"""The table of layers: cases with an outcome each, their proof, the page, a fuzzer."""
