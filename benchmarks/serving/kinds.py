"""The kinds of things that are measured."""

from __future__ import annotations

from enum import Enum


class Wire(Enum):
    """How a request travels."""

    REST = "REST"
    SSE = "REST, streamed"
    GRPC = "gRPC"


class Kind(Enum):
    """What a scenario is about."""

    CLOSED = "closed loop"
    OPEN = "open loop"
    NEIGHBOURS = "short requests and their neighbours"
    HEALTH = "health"
