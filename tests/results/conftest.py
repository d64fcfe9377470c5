"""Run folders for tests: real files through `rfprune.results`, numbers from a formula."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfprune.results import Provenance, StepRecord, SweepFolder, TrialResult
from rfprune.spec import SweepSpec, TrialSpec

SIZES = {"fc1": 1024, "fc2": 2048, "fc3": 1024, "fc4": 160}
REUSE_FACTORS = (1, 2, 4, 8, 16, 32)


def sweep_spec(**changes: Any) -> SweepSpec:
    values: dict[str, Any] = {
        "name": "digits",
        "model": {"name": "mlp"},
        "data": {"name": "digits"},
        "search": {
            "hardware.layers.*.reuse_factor": {"valid": True, "low": 1, "high": 32},
            "prune.regularizer.weight": {"low": 1e-6, "high": 1e-2, "log": True},
            "prune.budget.dsp": {"low": 0.05, "high": 0.6},
        },
        "objectives": {"val_accuracy": "max", "dsp": "min", "latency_cycles": "min"},
        "constraints": ["val_accuracy >= 0.7"],
    }
    return SweepSpec.model_validate({**values, **changes})


def trial_spec(number: int) -> TrialSpec:
    rng = np.random.default_rng(number)
    return TrialSpec.model_validate(
        {
            "model": {"name": "mlp"},
            "data": {"name": "digits"},
            "hardware": {
                "layers": {n: {"reuse_factor": int(rng.choice(REUSE_FACTORS))} for n in SIZES}
            },
            "prune": {
                "budget": {"dsp": round(float(rng.uniform(0.05, 0.6)), 3)},
                "regularizer": {"weight": float(10 ** rng.uniform(-6, -2))},
            },
            "seed": number,
        }
    )


def step_record(number: int, step: int, spec: TrialSpec, accepted: bool = True) -> StepRecord:
    """A plausible step: fewer groups, a little less accurate, the later the more so."""
    rng = np.random.default_rng([number, step])
    reuse = {name: layer.reuse_factor or 1 for name, layer in spec.hardware.layers.items()}
    fraction = 1 - (1 - spec.prune.budget["dsp"]) * step / 8
    live = {name: round(fraction * SIZES[name] / reuse[name]) for name in SIZES}
    dsp = sum(live.values())
    lost = 0.02 * np.log2(max(reuse.values())) / 5 + 0.06 * (1 - fraction) ** 3
    return StepRecord(
        step=step,
        accepted=accepted,
        fraction={"dsp": fraction},
        val_accuracy=round(float(0.975 - lost + rng.normal(0, 0.004)), 4),
        accuracy=round(float(0.970 - lost + rng.normal(0, 0.004)), 4),
        sparsity=round(1 - fraction, 4),
        dsp=dsp,
        bram18=sum(r > 1 for r in reuse.values()) * 4,
        lut=55 * dsp + 1200,
        ff=30 * dsp + 900,
        latency_cycles=12 + 2 * sum(reuse.values()),
        ii_cycles=max(reuse.values()),
        latency_ns=5.0 * (12 + 2 * sum(reuse.values())),
        live=live,
        groups={name: SIZES[name] // reuse[name] for name in SIZES},
        reuse_factor=reuse,
        strategy=dict.fromkeys(SIZES, "resource_unrolled"),
        prices={"dsp": 0.01},
        seconds=1.5,
    )


PROVENANCE = Provenance(
    rfprune="0.1.0",
    python="3.11.9",
    packages={"torch": "2.13.0", "hls4ml": "1.3.0"},
    machine="x86_64",
    git_commit="0123abc",
    data_sha256="fe" * 32,
    seed=0,
    threads=1,
)


@dataclass
class SweepMaker:
    """Writes sweeps and trials as a real driver would leave them on disk."""

    root: Path
    facts: dict[str, Any] = field(
        default_factory=lambda: {
            "sweep_id": "digits-0f3a",
            "reference_point": {"val_accuracy": 0.7, "dsp": 5000.0, "latency_cycles": 500.0},
        }
    )

    def sweep(self, spec: SweepSpec | None = None, trials: int = 0) -> SweepFolder:
        folder = SweepFolder(self.root / "digits")
        folder.write_spec(spec or sweep_spec(), self.facts)
        for number in range(trials):
            self.trial(folder, number)
        return folder

    def trial(
        self, folder: SweepFolder, number: int, *, state: str = "complete", steps: int = 6
    ) -> None:
        """Write one trial; its last step is a rejected one unless it is still running."""
        trial, spec = folder.trial(number), trial_spec(number)
        trial.write_spec(spec)
        rejected = state == "complete"
        for step in range(steps):
            record = step_record(number, step, spec, not (rejected and step == steps - 1))
            self.step(folder, number, record)
        (trial.path / "log.txt").write_text(f"trial {number}\n", encoding="utf-8")
        if state != "running":
            self.finish(folder, number, state=state, final_step=steps - 2 if steps > 1 else None)

    def step(self, folder: SweepFolder, number: int, record: StepRecord) -> None:
        trial = folder.trial(number)
        trial.append_step(record)
        layers = [
            {"name": name, "type": "dense", "reuse_factor": record.reuse_factor[name], "dsp": dsp}
            for name, dsp in record.live.items()
        ]
        path = trial.estimate(record.step)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"layers": layers, "fits": (record.values["dsp"] or 0) <= 3000}))

    def finish(
        self, folder: SweepFolder, number: int, *, state: str, final_step: int | None
    ) -> None:
        trial = folder.trial(number)
        trial.write_result(
            TrialResult(
                trial=number,
                state=state,
                stopped="tolerance broken" if state == "complete" else "",
                final_step=final_step,
                seconds=9.0,
                error=None if state == "complete" else "TrialError: loss is not finite",
                provenance=PROVENANCE,
            )
        )
        # A second apart, so that the order of ending does not hang on the clock's grain.
        self.age(folder, number, ended=1_700_000_000 + number)

    def age(self, folder: SweepFolder, number: int, *, ended: int) -> None:
        os.utime(folder.trial(number).path / "result.json", (ended, ended))


@pytest.fixture
def make(tmp_path: Path) -> SweepMaker:
    return SweepMaker(tmp_path / "runs")


@pytest.fixture
def spec_of() -> Callable[..., SweepSpec]:
    return sweep_spec
