"""A stand-in for TorchServe's Java process: the same command line, key file and HTTP calls.

FAKE_MODE: ok, dies (ends at once), loops (its workers fail), short (tokens that end in half a minute).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODE = os.environ.get("FAKE_MODE", "ok")
KEYS = {"inference": "infer-1", "management": "manage-1", "API": "api"}
MODELS = [{"modelVersion": "1.0", "workers": [{"id": "9000", "status": "READY"}]}]
LIFE = timedelta(seconds=30) if MODE == "short" else timedelta(days=1)


def write_keys() -> None:
    end = (datetime.now(timezone.utc) + LIFE).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    entries = {name: {"key": key, "expiration time": end} for name, key in KEYS.items()}
    Path("key_file.json").write_text(json.dumps(entries))


def renew(token_type: str) -> None:
    name, number = KEYS[token_type].split("-")
    KEYS[token_type] = f"{name}-{int(number) + 1}"
    write_keys()


class Handler(BaseHTTPRequestHandler):
    kind = "inference"

    def log_message(self, *arguments: Any) -> None:
        pass

    def send(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def is_allowed(self, key: str) -> bool:
        if self.headers["Authorization"] == f"Bearer {KEYS[key]}":
            return True
        self.send(400, {"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."})
        return False


class Management(Handler):
    def do_GET(self) -> None:
        if self.path.startswith("/token"):
            if self.is_allowed("API"):
                renew(self.path.rpartition("=")[2])
                self.send(200, {})
        elif self.is_allowed("management"):
            loading = [{**MODELS[0], "workers": []}]
            self.send(200, loading if MODE == "loops" else MODELS)


class Inference(Handler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        if self.is_allowed("inference"):
            status, reply = answer(body)
            if body.get("stream") and status == 200:
                self.stream(reply["generated"], whole=body["prompt"] != "broken")
            else:
                self.send(status, reply)

    def stream(self, text: str, *, whole: bool) -> None:
        """The text character by character as server-sent events; then the connection is closed."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        events = [{"delta": character} for character in text]
        for event in [*events, {"finish_reason": "stop"}] if whole else events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())


def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if body["action"] == "health":
        return 200, {"status": "healthy"}
    if body.get("prompt") == "bad":
        return 400, {"status": "error", "code": "invalid_request", "error": "prompt is bad"}
    return 200, {"status": "success", "generated": f"オウム: {body.get('prompt')}", "request": body}


def main() -> None:
    config = dict(
        line.split("=", 1) for line in Path("config.properties").read_text().splitlines() if "=" in line
    )
    if MODE == "dies":
        sys.exit("Invalid configuration: the fake does not want to")
    if MODE == "loops":
        line = "2026-01-01T00:00:00,000 [INFO ] W-9000 MODEL_LOG - "
        text = f"{line}RuntimeError: wrong tokenizer\n{line}Backend worker process died.\n" * 3
        Path(os.environ["LOG_LOCATION"], "model_log.log").write_text(text)
    write_keys()
    for handler in (Management, Inference):
        kind = handler.__name__.lower()
        port = int(config[f"{kind}_address"].rpartition(":")[2])
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    time.sleep(120)


if __name__ == "__main__":
    main()
