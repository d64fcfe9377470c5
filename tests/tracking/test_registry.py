"""A registered network, loaded in a fresh process that knows nothing of rfprune."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rfprune.errors import InputError, RunsError, WorkError
from rfprune.models import ModelSpec, architecture, build, save_checkpoint
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
    """The files of an export that registering reads, as `rfprune.export` writes them."""
    folder = tmp_path / "export"
    folder.mkdir()
    spec = ModelSpec(name="mlp")
    torch.manual_seed(0)
    model = build(spec, (16,), 5, folder)
    save_checkpoint(folder / "model.pt", model, architecture(spec, folder), (16,), 5, {})
    facts = {"trial": 7, "step": 3, "input_shape": [16], "why": "the knee", "dsp": 42.0}
    facts |= {"val_accuracy": 0.75, "power_mw": None}
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
    assert run.data.metrics == {"dsp": 42.0, "val_accuracy": 0.75}
    assert run.info.run_name == "export-trial-0007-step-3"
    files = {file.path for file in client.list_artifacts(champion.run_id)}
    assert files == {"model", "metrics.json", "report.md"}


@pytest.mark.parametrize("name", ["a/b", "a:b", "", "models'"])
def test_names_that_mlflow_does_not_take(exported, config, name: str) -> None:
    with pytest.raises(InputError, match="Allowed: letters"):
        register_model(exported, name, config)


def test_no_export_and_no_server_are_sentences(exported, tmp_path, config, monkeypatch) -> None:
    with pytest.raises(RunsError, match=r"holds no model\.pt"):
        register_model(tmp_path, "jets", config)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    nowhere = TrackingConfig(tracking_uri="http://127.0.0.1:1")
    with pytest.raises(WorkError, match=r"^MLflow at http://127\.0\.0\.1:1:"):
        register_model(exported, "jets", nowhere)


@pytest.mark.slow
def test_loaded_in_a_fresh_process(exported, config, tmp_path) -> None:
    from rfprune.export import load

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
def test_served_by_mlflow(exported, config, tmp_path) -> None:
    from rfprune.export import load

    register_model(exported, "jets", config)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
