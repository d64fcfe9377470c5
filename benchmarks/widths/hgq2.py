"""HGQ2 on the rows of `benchmarks.widths`: one ramp of its regularizer, all points of its front.

Runs in an environment of its own, which knows nothing of rfprune::

    python -m venv hgq2 && hgq2/bin/pip install HGQ2==0.2.0 'jax[cpu]' da4ml==0.6.0
    hgq2/bin/python benchmarks/widths/hgq2.py ROWS.npz OUT --seconds 150 --ramp 5e-7 1e-3

The network, its first widths, the optimizer and the cycles of the learning rate are those of its
authors' jet tagger, the ramp of beta runs over the CPU seconds instead of 200,000 epochs. Networks
on the front of validation accuracy and EBOPs are kept, calibrated on all rows that may be seen, and
counted and evaluated bit for bit as adder graphs by da4ml. Each goes to OUT as Verilog too.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import keras
import numpy as np
from da4ml.codegen import RTLModel
from da4ml.converter import trace_model
from da4ml.trace import comb_trace, to_pipeline
from hgq.config import QuantizerConfigScope
from hgq.layers import QDense, QEinsumDenseBatchnorm
from hgq.utils import trace_minmax

#: Points of a front that are evaluated, spread evenly over the logarithm of EBOPs.
POINTS = 16


def network(sizes: list[int], regression: bool) -> keras.Model:
    """Return an MLP as HGQ2's authors write it for jets: 3 bits behind the point at first."""
    with (
        QuantizerConfigScope(place="weight", overflow_mode="SAT_SYM", f0=3, trainable=True),
        QuantizerConfigScope(place="bias", overflow_mode="WRAP", f0=3, trainable=True),
        QuantizerConfigScope(place="datalane", i0=1, f0=3),
    ):
        inputs = x = keras.Input(shape=(sizes[0],))
        for size in sizes[1:-1]:
            x = QEinsumDenseBatchnorm("bc,cC->bC", size, bias_axes="C", activation="relu")(x)
        return keras.Model(inputs, QDense(sizes[-1])(x))


class Ramp(keras.callbacks.Callback):
    """Sets beta and the learning rate by the CPU seconds spent, keeps the front, ends in time."""

    def __init__(self, seconds: float, betas: tuple[float, float], rate: float, cycles: int):
        super().__init__()
        self.seconds, self.betas, self.rate, self.cycles = seconds, betas, rate, cycles
        self.front: list[dict] = []
        # As of rfprune, what the packages take to load is not counted.
        self.begun = time.process_time()

    def spent(self) -> float:
        """Return the CPU seconds since it was made, compiling included."""
        return time.process_time() - self.begun

    def on_epoch_begin(self, epoch, logs=None):
        """Set beta and the rate by the share of the time that is spent."""
        share = min(1.0, self.spent() / self.seconds)
        held = max(0.0, share - 0.02) / 0.98
        beta = self.betas[0] * (self.betas[1] / self.betas[0]) ** held
        for layer in self.model._flatten_layers():
            if getattr(layer, "_beta", None) is not None:
                layer._beta.assign(beta)
        cycle, place = divmod(share * self.cycles, 1.0)
        peak = self.rate * 0.94**cycle
        self.model.optimizer.learning_rate = 1e-6 + 0.5 * peak * (1 + math.cos(math.pi * place))

    def on_epoch_end(self, epoch, logs=None):
        """Keep the network if none that is kept is as good and as small; end when time is up."""
        ebops = sum(
            int(layer._ebops)
            for layer in self.model._flatten_layers()
            if getattr(layer, "enable_ebops", False)
        )
        merit = logs.get("val_accuracy", -logs["val_loss"])
        if not any(p["merit"] >= merit and p["ebops"] <= ebops for p in self.front):
            self.front = [p for p in self.front if p["merit"] > merit or p["ebops"] < ebops]
            weights = [np.array(w) for w in self.model.get_weights()]
            self.front.append({"merit": merit, "ebops": ebops, "epoch": epoch, "weights": weights})
        if self.spent() > self.seconds:
            self.model.stop_training = True


def main() -> None:
    """Train one ramp and write its points."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--ramp", type=float, nargs=2, default=(5e-7, 1e-3))
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--batch", type=int, default=4096)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    rows = np.load(options.rows)
    regression = rows["y_train"].dtype.kind == "f"
    outputs = rows["y_train"].shape[1] if regression else int(rows["y_train"].max()) + 1
    sizes = [rows["x_train"].shape[1], *rows["hidden"].tolist(), outputs]
    model = network(sizes, regression)
    loss = "mse" if regression else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = len(rows["x_train"]) // options.batch
    model.compile(
        keras.optimizers.Adam(options.rate),
        loss,
        metrics=[] if regression else ["accuracy"],
        steps_per_execution=max(1, steps),
    )
    ramp = Ramp(options.seconds, tuple(options.ramp), options.rate, options.cycles)
    held = (rows["x_val"], rows["y_val"])
    model.fit(
        rows["x_train"],
        rows["y_train"],
        batch_size=options.batch,
        epochs=10**6,
        validation_data=held,
        validation_batch_size=len(held[0]),
        callbacks=[ramp],
        verbose=0,
    )
    spent = ramp.spent()
    options.out.mkdir(parents=True, exist_ok=True)
    seen = np.concatenate([rows["x_train"], rows["x_val"]])
    front = sorted(ramp.front, key=lambda p: p["ebops"])
    aims = np.geomspace(max(front[0]["ebops"], 1), front[-1]["ebops"], POINTS)
    near = {min(range(len(front)), key=lambda i: abs(front[i]["ebops"] - aim)) for aim in aims}
    with (options.out / "points.jsonl").open("w") as lines:
        for index in sorted(near):
            point = front[index]
            model.set_weights(point.pop("weights"))
            trace_minmax(model, seen, batch_size=16384, verbose=False)
            logic = comb_trace(*trace_model(model))
            graph = to_pipeline(logic, 5, verbose=False)
            out, val = logic.predict(rows["x_test"]), logic.predict(rows["x_val"])
            folder = options.out / f"{index:03d}"
            RTLModel(graph, "network", str(folder), flavor="verilog", clock_period=5.0).write()
            line = {**point, "index": index, "cpu_seconds": spent, "epochs": point["epoch"]}
            line |= {"lut": round(graph.cost), "seed": options.seed, "ramp": list(options.ramp)}
            line["score"] = score(out, rows["y_test"], regression)
            line["val_score"] = score(val, rows["y_val"], regression)
            lines.write(json.dumps(line) + "\n")
            lines.flush()


def score(out: np.ndarray, y: np.ndarray, regression: bool) -> float:
    """Return accuracy, or half the width of the central 68 % of the residuals, over outputs."""
    if not regression:
        return float((out.argmax(1) == y).mean())
    low, high = np.quantile(out - y, [0.16, 0.84], axis=0)
    return float((high - low).mean()) / 2


if __name__ == "__main__":
    main()
