"""The same contract over gRPC, with stubs made from the protos inside the installed TorchServe."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from model.tokenizer import Tokenizer
from tests.e2e.conftest import Server

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ModuleType]]:
    """Generated modules by name, such as inference_pb2_grpc."""
    folder = tmp_path_factory.mktemp("stubs")
    spec = find_spec("ts")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "frontend" / "model-server.jar") as jar:
        jar.extractall(folder, [name for name in jar.namelist() if name.endswith(".proto")])
    protos = [str(folder / "proto" / f"{name}.proto") for name in ("inference", "management")]
    protos.append(str(folder / "google" / "rpc" / "status.proto"))
    include = [f"-I{folder / 'proto'}", f"-I{folder}"]
    out = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *include, *out, *protos], check=True)
    sys.path.insert(0, str(folder))
    yield importlib.import_module
    sys.path.remove(str(folder))


class Grpc:
    """Calls over gRPC with the right token."""

    def __init__(self, server: Server, stubs: Callable[[str], ModuleType]) -> None:
        self._server = server
        self.inference, self.management = stubs("inference_pb2"), stubs("management_pb2")
        addresses = server.status["addresses"]
        self._channels = [grpc.insecure_channel(addresses[f"grpc_{n}"]) for n in ("inference", "management")]
        self._inference = stubs("inference_pb2_grpc").InferenceAPIsServiceStub(self._channels[0])
        self._management = stubs("management_pb2_grpc").ManagementAPIsServiceStub(self._channels[1])

    def predict(self, body: object, version: str = "") -> dict[str, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = self.inference.PredictionsRequest(
            model_name="neuroq", model_version=version, input={"data": content}
        )
        reply: dict[str, Any] = json.loads(
            self._inference.Predictions(request, metadata=self._token("token"), timeout=60).prediction
        )
        return reply

    def manage(self, method: str, request: Any) -> Any:
        call = getattr(self._management, method)
        return call(request, metadata=self._token("management_token"), timeout=120)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def _token(self, kind: str) -> tuple[tuple[str, str], ...]:
        return (("protocol", "gRPC"), ("authorization", f"Bearer {self._server.status[kind]}"))


@pytest.fixture
def calls(server: Server, stubs: Callable[[str], ModuleType]) -> Iterator[Grpc]:
    grpc_calls = Grpc(server, stubs)
    yield grpc_calls
    grpc_calls.close()


def test_every_action_answers_as_over_rest(server: Server, calls: Grpc) -> None:
    for body in (
        {"action": "health"},
        {"input": {"action": "health"}},
        {"action": "train"},
        {"action": "fly"},
        {"prompt": "x", "max_length": 0},
        {"action": "clear_session", "session_id": "grpc"},
        b"not json",
    ):
        assert calls.predict(body) == server.post(body).json()
    assert calls.predict({"action": "status"})["model_version"] == "1.0"


def test_a_seed_gives_the_same_text_over_both_protocols(server: Server, calls: Grpc) -> None:
    body = {"prompt": "こんにちは", "seed": 21, "temperature": 1.2, "max_length": 30}
    over_grpc = calls.predict({**body, "session_id": "over-grpc"}, version="1.0")
    over_rest = server.generate(**body, session_id="over-rest")
    assert over_grpc["generated"] == over_rest["generated"]


def test_a_conversation_goes_on_over_the_other_protocol(server: Server, calls: Grpc) -> None:
    first = server.generate("はい", session_id="mixed", max_length=3)
    second = calls.predict({"prompt": "はい", "session_id": "mixed", "max_length": 3})
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]


def test_a_call_needs_the_token(server: Server, calls: Grpc) -> None:
    calls._token = lambda _: (("protocol", "gRPC"),)  # type: ignore[method-assign]
    with pytest.raises(grpc.RpcError) as caught:
        calls.predict({"action": "health"})
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_an_unknown_version_is_an_error(calls: Grpc) -> None:
    with pytest.raises(grpc.RpcError):
        calls.predict({"action": "health"}, version="9.9")


def test_versions_are_managed_over_grpc(server: Server, calls: Grpc, tokenizer: Tokenizer) -> None:
    messages = calls.management
    archive = server.package("3.0", seed=9, tokenizer=tokenizer)
    described = calls.manage("DescribeModel", messages.DescribeModelRequest(model_name="neuroq"))
    assert json.loads(described.msg)[0]["modelVersion"] == "1.0"
    listed = calls.manage("ListModels", messages.ListModelsRequest(limit=10))
    assert json.loads(listed.msg)["models"][0]["modelName"] == "neuroq"
    calls.manage(
        "RegisterModel",
        messages.RegisterModelRequest(url=archive, initial_workers=1, synchronous=True),
    )
    chosen = {"model_name": "neuroq", "model_version": "3.0"}
    calls.manage("SetDefault", messages.SetDefaultRequest(**chosen))
    assert calls.predict({"action": "status"})["model_version"] == "3.0"
    calls.manage("SetDefault", messages.SetDefaultRequest(model_name="neuroq", model_version="1.0"))
    assert calls.predict({"action": "status"})["model_version"] == "1.0"
    calls.manage("UnregisterModel", messages.UnregisterModelRequest(**chosen))
    with pytest.raises(grpc.RpcError):
        calls.predict({"action": "health"}, version="3.0")
