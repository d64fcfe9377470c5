"""A registered network, loaded in a fresh process that knows nothing of rfprune."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.ports import free_port
from rfprune.errors import InputError, RunsError, WorkError
from rfprune.exporting.onnx import write_onnx_of_heads
from rfprune.models import architecture, build, save_checkpoint
from rfprune.models.spec import ModelSpec
from rfprune.tracking import TrackingConfig, register_model

LOADED = """
import json, sys
import numpy as np
import mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
x = np.load(sys.argv[2])
by_pyfunc = mlflow.pyfunc.load_model("models:/jets@champion")
by_torch = mlflow.pytorch.load_model("models:/jets@champion")
with torch.no_grad():
    logits = by_torch(torch.from_numpy(x)).numpy()
print(json.dumps({
    "pyfunc": by_pyfunc.predict(x).tolist(),
    "torch": logits.tolist(),
    "inputs": [list(by_pyfunc.metadata.signature.inputs.inputs[0].shape)],
    "example": by_pyfunc.input_example.tolist(),
    "rfprune": "rfprune" in sys.modules,
}))
"""


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The files of an export that registering reads, as `rfprune.exporting` writes them."""
    folder = tmp_path / "export"
    folder.mkdir()
    spec = ModelSpec(name="mlp")
    torch.manual_seed(0)
    model = build(spec, (16,), 5, folder)
    save_checkpoint(folder / "model.pt", model, architecture(spec, folder), (16,), 5, {})
    facts = {"trial": 7, "step": 3, "accepted": True, "input_shape": [16], "why": "the knee"}
    facts |= {"dsp": 42.0, "val_accuracy": 0.75, "power_mw": None, "seconds": 1.5}
    (folder / "metrics.json").write_text(json.dumps(facts))
    (folder / "report.md").write_text("# report\n")
    return folder


def test_versions_alias_and_files(exported, config, client) -> None:
    assert register_model(exported, "jets", config) == 1
    assert register_model(exported, "jets", config) == 2
    champion = client.get_model_version_by_alias("jets", "champion")
    assert int(champion.version) == 2
    assert champion.description == "the knee"
    assert champion.tags == {"trial": "7", "step": "3"}
    run = client.get_run(champion.run_id)
    assert run.data.metrics == {"dsp": 42.0, "val_accuracy": 0.75, "seconds": 1.5}
    assert run.info.run_name == "export-trial-0007-step-3"
    files = {file.path for file in client.list_artifacts(champion.run_id)}
    assert files == {"model", "metrics.json", "report.md"}


@pytest.mark.parametrize("name", ["a/b", "a:b", "", "models'"])
def test_names_that_mlflow_does_not_take(exported, config, name: str) -> None:
    with pytest.raises(InputError, match="Allowed: letters"):
        register_model(exported, name, config)


def test_no_export_and_no_server_are_sentences(exported, tmp_path, config, monkeypatch) -> None:
    with pytest.raises(RunsError, match=r"has no model\.pt"):
        register_model(tmp_path, "jets", config)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    nowhere = TrackingConfig(tracking_uri="http://127.0.0.1:1")
    with pytest.raises(WorkError, match=r"^MLflow at http://127\.0\.0\.1:1:"):
        register_model(exported, "jets", nowhere)


@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
def test_loaded_in_a_fresh_process(exported, config, tmp_path) -> None:
    from rfprune.exporting import load

    vectors = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    np.savez(exported / "test_vectors.npz", x=vectors)
    register_model(exported, "jets", config)
    np.save(tmp_path / "x.npy", vectors)
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(LOADED)]
    run = subprocess.run(
        [*command, config.tracking_uri, str(tmp_path / "x.npy")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found = json.loads(run.stdout.splitlines()[-1])
    with torch.no_grad():
        expected = load(exported)(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(found["pyfunc"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["torch"], expected, rtol=0, atol=1e-5)
    assert found["inputs"] == [[-1, 16]]
    np.testing.assert_array_equal(np.float32(found["example"]), vectors[:4])
    assert found["rfprune"] is False


NETWORK = """
import torch
from torch import nn
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 3), nn.Linear(5, 1)
    def forward(self, jets, muon):
        h = torch.cat([jets.flatten(1), muon], 1)
        return {"label": self.a(h), "pt": self.b(h)}
class Pair(Two):
    def forward(self, x):
        return self.a(x), self.b(x)
def two(): return Two()
def pair(): return Pair()
"""

BY_NAME = """
import json, sys
import numpy as np
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
loaded = mlflow.pyfunc.load_model("models:/named@champion")
given = dict(np.load(sys.argv[2]))
found = loaded.predict(given)
print(json.dumps({
    "found": {name: values.tolist() for name, values in found.items()},
    "inputs": loaded.metadata.signature.inputs.input_names(),
    "outputs": loaded.metadata.signature.outputs.input_names(),
    "rfprune": "rfprune" in sys.modules,
}))
"""


@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
@pytest.mark.parametrize(
    ("network", "shape"), [("two", {"jets": (2, 2), "muon": (1,)}), ("pair", (5,))]
)
def test_several_inputs_and_outputs_go_by_name(
    network: str, shape: Any, config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is missing")
    module = f"registered_{network}"
    (tmp_path / f"{module}.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    folder, spec = tmp_path / "export", ModelSpec(name=f"{module}:{network}")
    folder.mkdir()
    model = build(spec, shape, {"label": 3, "pt": 1}, tmp_path).eval()
    origin = architecture(spec, tmp_path)
    save_checkpoint(folder / "model.pt", model, origin, shape, {"label": 3, "pt": 1}, {})
    facts = {"trial": 1, "step": 1, "accepted": True, "input_shape": shape}
    (folder / "metrics.json").write_text(json.dumps(facts))
    write_onnx_of_heads(folder / "model.onnx", model, shape, ["label", "pt"])
    assert register_model(folder, "named", config, run_code=True) == 1
    rng = np.random.default_rng(0)
    shapes = shape if isinstance(shape, dict) else {"x": shape}
    rows = {name: rng.normal(size=(7, *own)).astype("f4") for name, own in shapes.items()}
    np.savez(tmp_path / "x.npz", **rows)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BY_NAME, config.tracking_uri, "x.npz"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found = json.loads(run.stdout.splitlines()[-1])
    with torch.no_grad():
        expected = model(*(torch.from_numpy(part) for part in rows.values()))
    if not isinstance(expected, dict):
        expected = dict(zip(["label", "pt"], expected, strict=True))
    assert found["inputs"] == list(rows)
    assert found["outputs"] == ["label", "pt"] == list(found["found"])
    for name, values in expected.items():
        np.testing.assert_allclose(found["found"][name], values.numpy(), rtol=0, atol=1e-5)
    assert found["rfprune"] is False


def invoke(port: int, x: np.ndarray) -> list | None:
    """Ask a scoring server for logits; None while it does not answer yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = json.dumps({"inputs": x.tolist()})
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return json.loads(answer.read())["predictions"] if answer.status == 200 else None
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
def test_served_by_mlflow(exported, config, tmp_path) -> None:
    from rfprune.exporting import load

    register_model(exported, "jets", config)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/jets@champion"]
    # MLflow starts uvicorn by its bare name, which an activated environment would have found.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    noise = {"PYTHONWARNINGS": "ignore", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(
        [*command, "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"],
        env={**os.environ, **noise, "PATH": path, "MLFLOW_TRACKING_URI": config.tracking_uri},
        cwd=tmp_path,
        start_new_session=True,
    )
    x = np.random.default_rng(1).normal(size=(3, 16)).astype(np.float32)
    try:
        deadline = time.monotonic() + 120
        while (logits := invoke(port, x)) is None and time.monotonic() < deadline:
            assert server.poll() is None
            time.sleep(0.3)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    with torch.no_grad():
        expected = load(exported)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
