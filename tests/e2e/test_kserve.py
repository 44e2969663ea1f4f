"""KServe's TorchServe runtime, as far as it can be had without a cluster: its protocol and its storage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Server
from tests.manifests import environment, one

pytestmark = pytest.mark.e2e
REQUEST: dict[str, Any] = {"prompt": "こんにちは", "seed": 3, "max_length": 20, "session_id": "kserve"}


def predict(server: Server, body: Any) -> httpx.Response:
    """Protocol v1, as KServe's clients and gateways speak it."""
    name = one("kubernetes/kserve", "InferenceService")["metadata"]["name"]
    with server.client() as client:
        return client.post(f"{server.status['addresses']['inference']}/v1/models/{name}:predict", json=body)


def test_protocol_v1(server: Server) -> None:
    server.post({"action": "clear_session", "session_id": "kserve"})
    expected = server.generate(**REQUEST)
    server.post({"action": "clear_session", "session_id": "kserve"})
    reply = predict(server, {"instances": [REQUEST]})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    (prediction,) = reply.json()["predictions"]
    assert prediction["generated"] == expected["generated"]
    for body in (REQUEST, {"instances": [REQUEST, REQUEST]}, {"inputs": []}):
        refusal = predict(server, body)
        assert (refusal.status_code, refusal.json()["code"]) == (400, "invalid_request")


def test_the_runtime_serves_kserve_s_storage_layout(continuous: Server, tmp_path: Path) -> None:
    """The manifest's settings, and what the stock runtime expects in a folder for /mnt/models."""
    models = tmp_path / "mnt" / "models"
    (models / "model-store").mkdir(parents=True)
    shutil.copy(continuous.folder / "model_store" / "neuroq.mar", models / "model-store")
    (models / "config").mkdir()
    (models / "config" / "config.properties").write_text("inference_address=http://0.0.0.0:8085\n")
    (container,) = one("kubernetes/kserve", "ServingRuntime")["spec"]["containers"]
    store = environment(container)["NEUROQ_MODEL_STORE"].replace("/mnt/models", str(models))
    server = Server(tmp_path, "continuous")
    server.environment |= {
        "NEUROQ_MODEL_STORE": store,
        "NEUROQ_CHECKPOINT_PATH": continuous.environment["NEUROQ_CHECKPOINT_PATH"],
    }
    try:
        server.start()
        (prediction,) = predict(server, {"instances": [REQUEST]}).json()["predictions"]
        assert prediction["status"] == "success"
    finally:
        server.stop()
