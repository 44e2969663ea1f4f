"""TorchServe's unary prediction over gRPC, with the two messages written by hand: no stubs to generate.

A message is a row of fields, each `key length bytes`; proto/inference.proto in TorchServe's jar numbers them.
"""

from __future__ import annotations

import time

import grpc  # type: ignore[import-untyped]

from benchmarks.serving.connection import ConnectionLostError, Reply

_METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
_MODEL_NAME, _INPUT, _INPUT_KEY, _INPUT_VALUE, _PREDICTION = 1, 3, 1, 2, 1
_LENGTH_DELIMITED = 2


class GrpcCaller:
    """Sends one request at a time over a channel of its own."""

    is_open = True

    def __init__(self, host: str, port: int, token: str) -> None:
        # Channels with the same arguments share one connection unless told otherwise.
        self._channel = grpc.aio.insecure_channel(
            f"{host}:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self._call = self._channel.unary_unary(_METHOD)  # no serializers: bytes in, bytes out
        self._metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {token}"))

    async def call(self, request: bytes) -> Reply:
        """Send a PredictionsRequest and return its prediction. Raises ConnectionLostError."""
        try:
            content = await self._call(request, metadata=self._metadata)
        except grpc.RpcError as error:
            raise ConnectionLostError(str(error)) from error
        now = time.perf_counter()
        return Reply(status=200, body=bytearray(_prediction(content)), first_at=now, ended_at=now)

    def close(self) -> None:
        """Nothing to do: the channel ends with the event loop."""


def prediction_request(model_name: str, data: bytes) -> bytes:
    """Return a PredictionsRequest with `data` in its input map, under the name that the handler reads."""
    entry = _field(_INPUT_KEY, b"data") + _field(_INPUT_VALUE, data)
    return _field(_MODEL_NAME, model_name.encode()) + _field(_INPUT, entry)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the top bit says that more follow."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _prediction(message: bytes) -> bytes:
    """The first field of a PredictionResponse."""
    assert message[:1] == bytes([_PREDICTION << 3 | _LENGTH_DELIMITED])
    length, shift, at = 0, 0, 1
    while True:
        length |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return message[at : at + length]
