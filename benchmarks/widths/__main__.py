"""Method widths: LUTs at which a score is kept, on rows that nothing was chosen on."""

from benchmarks.report import Study, listed
from benchmarks.widths.measure import CASES, each, lengths, measure, page

if __name__ == "__main__":
    Study(
        "widths",
        "LUTs of the method widths at 0.99, 0.98 and 0.97 of the dense network's accuracy",
        measure,
        page,
        packages=("rfprune", "torch", "da4ml", "scikit-learn"),
        options={
            "--tasks": (listed(CASES), "jets", f"some of: {', '.join(CASES)}"),
            "--seeds": (each(int), [1], "trials of each task: one number, or one per task"),
            "--yosys": (listed(CASES), "", "tasks whose points are synthesised by Yosys as well"),
            "--methods": (each(int), [0], "trials of each task with the method ebops, as --seeds"),
            "--hgq2": (str, "", "Python of an environment with HGQ2, which runs the same rows"),
            "--hgq2-seconds": (
                each(lengths),
                [[150.0]],
                "CPU seconds of its ramps, as --seeds; 150+600 for both",
            ),
            "--hgq2-seeds": (each(int), [1], "its seeds, as --seeds"),
            "--hgq2-ramps": (int, 3, "ramps of its regularizer that are tried, up to 3"),
            "--hgq2-ramp-seeds": (int, 1, "seeds on which all of them are tried; then the best"),
            "--ablations": (int, 0, "seeds of each trial that leaves something out, first task"),
            "--latency": (bool, False, "compare strategy latency with uniform widths instead"),
            "--earlier": (
                lambda text: [part for part in text.split(",") if part],
                [],
                "pages of this study: what they show of other tools and tasks is shown again",
            ),
            "--kept": (str, "", "folder in which finished trials are kept; temporary if not given"),
        },
    ).run()
