"""The servers that are compared, each started as its users would, with the same number of places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import yaml

from benchmarks.anchors import HUGGING_FACE
from benchmarks.serving.grpc_call import prediction_request
from benchmarks.serving.kinds import Kind, Wire
from benchmarks.serving.load import NUMBER, Call
from benchmarks.serving.models import Model
from benchmarks.serving.torchserve import MODEL_NAME, ROOT, TorchServe, write_archive
from benchmarks.serving.workload import Ask
from handler.settings import PRECISION_VARIABLE
from model.checkpoint import tokenizer_path
from model.precision import AUTO
from server.settings import LOOPBACK
from train.package import PROFILES, Package
from train.remote import open_checkpoint

HANDLERS = Path(__file__).with_name("handlers")
NEUROQ, NEUROQ_INT8 = "NeuroQ", "NeuroQ, int8"
NOOP, HUGGING_FACE_HANDLER = "no-op handler", "Hugging Face"
RIVAL_KINDS = frozenset({Kind.CLOSED, Kind.OPEN, Kind.NEIGHBOURS})
_HEALTH = {"input": {"action": "health"}}


@dataclass(frozen=True)
class Traits:
    """A system's name, how it is set up in a few words, and what is asked of it.

    `patience` is how much longer than others it is watched: a slow one finishes few requests a second.
    """

    name: str
    setting: str
    wires: frozenset[Wire]
    kinds: frozenset[Kind]
    patience: float = 1.0


class System(Protocol):
    """A server that can be started, asked and stopped."""

    @property
    def traits(self) -> Traits:
        """What is asked of it."""

    @property
    def token(self) -> str:
        """What the server wants to see, or nothing."""

    def start(self) -> None:
        """Start and wait until it answers."""

    def stop(self) -> None:
        """End every process of it."""

    def port(self, wire: Wire) -> int:
        """Return the loopback port."""

    def calls(self, asks: Sequence[Ask], wire: Wire) -> list[Call]:
        """Return the asks as they go over the wire."""

    def health_call(self) -> Call:
        """Return a health check."""

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor seconds used so far, by part."""


class TorchServeSystem:
    """A TorchServe whose handler takes NeuroQ's requests."""

    def __init__(self, traits: Traits, server: TorchServe) -> None:
        self.traits = traits
        self._server = server

    @property
    def token(self) -> str:
        """The inference token of this start."""
        return self._server.token

    def start(self) -> None:
        """Start TorchServe and wait for its worker."""
        self._server.start()

    def stop(self) -> None:
        """Stop TorchServe and its workers."""
        self._server.stop()

    def port(self, wire: Wire) -> int:
        """Return the inference port."""
        settings = self._server.settings
        return settings.grpc_port if wire is Wire.GRPC else settings.port

    def calls(self, asks: Sequence[Ask], wire: Wire) -> list[Call]:
        """Return the asks as `generate` requests, each in a conversation of its own."""
        return [self._call(_generate(ask, wire), wire, ask.num_tokens) for ask in asks]

    def health_call(self) -> Call:
        """Return a health check."""
        return self._call(_HEALTH, Wire.REST, 0)

    def check_health(self) -> None:
        """Check the server's health once. Raises httpx.HTTPError."""
        url = f"http://{LOOPBACK}:{self.port(Wire.REST)}/predictions/{MODEL_NAME}"
        headers = {"Authorization": f"Bearer {self.token}"}
        httpx.post(url, json=_HEALTH, headers=headers, trust_env=False).raise_for_status()

    @property
    def archive(self) -> Path:
        """The archive that TorchServe loads at the next start."""
        return self._server.settings.archive

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor seconds of the front end and of the workers."""
        return self._server.cpu_seconds()

    def _call(self, body: Mapping[str, Any], wire: Wire, num_tokens: int) -> Call:
        content = json.dumps(body, ensure_ascii=False).encode()
        if wire is Wire.GRPC:
            return Call(prediction_request(MODEL_NAME, content), num_tokens)
        path = f"/predictions/{MODEL_NAME}"
        return Call(post(path, self.port(wire), content, self.token), num_tokens)


def neuroq(folder: Path, model: Model, precision: str = AUTO, *, training: bool = False) -> TorchServeSystem:
    """NeuroQ in the profile `continuous`, packaged as ./neuroq package does."""
    server = TorchServe(folder, {PRECISION_VARIABLE: precision}, training=training)
    source = open_checkpoint(str(model.checkpoint))
    Package(source, "1.0", "continuous").write(server.settings.archive)
    config = {k: value for k, value in neuroq_config()["handler"].items() if not isinstance(value, dict)}
    config["precision"] = precision
    setting = "profile continuous, " + ", ".join(f"{name} {value}" for name, value in config.items())
    name = NEUROQ if precision == AUTO else NEUROQ_INT8
    return TorchServeSystem(Traits(name, setting, frozenset(Wire), frozenset(Kind)), server)


def noop(folder: Path, tokens_per_step: int) -> TorchServeSystem:
    """TorchServe's own cost: NeuroQ's model-config.yaml and number of steps, and nothing computed."""
    server = TorchServe(folder)
    config = {**neuroq_config(), "handler": {"tokens_per_step": tokens_per_step}}
    write_archive(server.settings.archive, handler=HANDLERS / "noop_handler.py", config=config)
    setting = f"NeuroQ's TorchServe settings, a step for every {tokens_per_step} tokens as seen at NeuroQ"
    return TorchServeSystem(Traits(NOOP, setting, frozenset(Wire), frozenset({Kind.CLOSED})), server)


def hugging_face(folder: Path, model: Model, slots: int, workers: int) -> TorchServeSystem:
    """GPT-2 of the same size behind Hugging Face generate, batched by TorchServe."""
    server = TorchServe(folder)
    config = {
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": slots // workers,
        "maxBatchDelay": 50,  # milliseconds
        "responseTimeout": 120,
        "startupTimeout": 120,
        "threads": 1,
    }
    files = [*sorted(HUGGING_FACE.iterdir()), tokenizer_path(model.checkpoint)]
    write_archive(
        server.settings.archive, handler=HANDLERS / "huggingface_handler.py", config=config, files=files
    )
    name = f"{HUGGING_FACE_HANDLER}, {workers} worker{'s' if workers > 1 else ''}"
    setting = f"transformers generate, GPT-2, float32, batchSize {slots // workers}, one thread a worker"
    return TorchServeSystem(Traits(name, setting, frozenset({Wire.REST}), RIVAL_KINDS, patience=2.0), server)


def neuroq_config() -> dict[str, Any]:
    """Return the model-config.yaml that NeuroQ is served with."""
    text = (ROOT / "handler" / PROFILES["continuous"]).read_text(encoding="utf-8")
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def post(path: str, port: int, content: bytes, token: str = "") -> bytes:
    """Return an HTTP request with the headers that Python's clients send."""
    headers = {
        "Host": f"{LOOPBACK}:{port}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
        "User-Agent": "benchmarks.serving",
        **({"Authorization": f"Bearer {token}"} if token else {}),
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def _generate(ask: Ask, wire: Wire) -> dict[str, Any]:
    return {
        "prompt": ask.prompt,
        "max_length": ask.num_tokens,
        "session_id": f"benchmark-{NUMBER}",
        "seed": ask.seed,
        "stream": wire is Wire.SSE,
    }
