"""llama.cpp's own server with GPT-2 of the same size in Q8_0, continuous batching, one thread."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from benchmarks.anchors import LLAMA_SERVER, SIZE, gguf
from benchmarks.serving.kinds import Wire
from benchmarks.serving.load import Call
from benchmarks.serving.systems import RIVAL_KINDS, Traits, post
from benchmarks.serving.workload import Ask
from server.ports import free_ports
from server.settings import LOOPBACK

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0
# NeuroQ's default sampling, and no end before the length that was asked for.
_SAMPLING = {
    "temperature": 0.5,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_penalty": 1.2,
    "repeat_last_n": 20,
    "ignore_eos": True,
    "cache_prompt": False,
}


class LlamaServer:
    """One llama-server process."""

    traits = Traits(
        "llama.cpp", "llama-server, GPT-2, Q8_0, one thread", frozenset({Wire.REST, Wire.SSE}), RIVAL_KINDS
    )
    token = ""

    def __init__(self, folder: Path, slots: int) -> None:
        folder.mkdir(parents=True)
        self._log = folder / "llama-server.log"
        self._port = free_ports(1)[0]
        self._slots = slots
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it is healthy. Raises RuntimeError."""
        command = [
            str(LLAMA_SERVER),
            "--model",
            str(gguf("q8_0")),
            "--host",
            LOOPBACK,
            "--port",
            str(self._port),
        ]
        command += ["--parallel", str(self._slots), "--ctx-size", str(self._slots * SIZE.context_length)]
        command += ["--threads", "1", "--threads-batch", "1", "--cont-batching", "--no-webui"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"llama-server does not start; see {self._log}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def port(self, wire: Wire) -> int:
        """Return the server's port."""
        return self._port

    def calls(self, asks: Sequence[Ask], wire: Wire) -> list[Call]:
        """Return the asks as completions of token ids: its made-up words stand for no text."""
        return [self._call(ask, wire) for ask in asks]

    def health_call(self) -> Call:
        """Return a health check."""
        return Call(f"GET /health HTTP/1.1\r\nHost: {LOOPBACK}:{self._port}\r\n\r\n".encode())

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor seconds of the process."""
        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return {"worker": times.user + times.system}

    def _call(self, ask: Ask, wire: Wire) -> Call:
        stream = {"stream": True, "stream_options": {"include_usage": True}} if wire is Wire.SSE else {}
        body = {
            "prompt": ask.prompt_ids,
            "max_tokens": ask.num_tokens,
            "seed": ask.seed,
            **_SAMPLING,
            **stream,
        }
        return Call(post("/v1/completions", self._port, json.dumps(body).encode()), ask.num_tokens)

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://{LOOPBACK}:{self._port}/health", trust_env=False).is_success
        except httpx.HTTPError:
            return False
