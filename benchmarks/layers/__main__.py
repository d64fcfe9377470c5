"""``python -m benchmarks.layers``: proves every case, and writes ``docs/layers.md``."""

from __future__ import annotations

import sys

from benchmarks.layers.cases import CASES
from benchmarks.layers.page import PAGE, page
from benchmarks.layers.prove import faults_of
from rfprune.core.files import write_atomic

if __name__ == "__main__":
    faults = faults_of(CASES)
    print("\n".join(faults) or f"{len(CASES)} cases, each as it should be")
    if faults:
        sys.exit(1)
    write_atomic(PAGE, page())
