"""Calls over gRPC with stubs made from the protos inside the installed TorchServe."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import grpc

from tests.e2e.conftest import Server


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

    def stream(self, body: object, key: bytes | None = b"StreamPredictions") -> list[dict[str, Any]]:
        """The messages of a StreamPredictions call; `key` goes into the input map under `stream`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        inputs = {"data": content} | ({} if key is None else {"stream": key})
        request = self.inference.PredictionsRequest(model_name="neuroq", input=inputs)
        replies = self._inference.StreamPredictions(request, metadata=self._token("token"), timeout=60)
        return [json.loads(reply.prediction) for reply in replies]

    def manage(self, method: str, request: Any) -> Any:
        call = getattr(self._management, method)
        return call(request, metadata=self._token("management_token"), timeout=120)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def _token(self, kind: str) -> tuple[tuple[str, str], ...]:
        return (("protocol", "gRPC"), ("authorization", f"Bearer {self._server.status[kind]}"))
