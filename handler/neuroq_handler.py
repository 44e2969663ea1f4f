"""The TorchServe handler: `preprocess`, `inference`, `postprocess` around the service.

TorchServe calls `handle` in one of two ways, told apart by `continuousBatching` in model-config.yaml:
- continuous batching: once a step, with every active request, new and old;
- plain batching: once a batch, with new requests only, which must all be answered when it returns.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from handler import single_worker
from handler.served_model import ServedModel
from handler.service import Reply, Service
from handler.sessions import SessionStore
from handler.settings import read_settings, sessions_path


class NeuroQHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no type hints
    """Serves one model version in one worker process."""

    def __init__(self) -> None:
        super().__init__()
        self._continuous = False
        self._place: Any = None  # the open lock file of the one worker
        self._service: Service
        self._headers: dict[str, str] = {}

    def initialize(self, context: Any) -> None:
        """Load the archive's model. Any error here keeps the worker from becoming READY, with its reason."""
        config = context.model_yaml_config or {}
        settings = read_settings(config, os.environ)
        version = context.manifest["model"]["modelVersion"]
        self._continuous = bool(config.get("continuousBatching"))
        if self._continuous:
            self._place = single_worker.claim(context.model_name, version)
        torch.set_num_threads(settings.threads)
        served = ServedModel.load(
            Path(context.system_properties["model_dir"]),
            name=context.model_name,
            version=version,
            device=_device(context.system_properties.get("gpu_id")),
        )
        sessions = SessionStore(sessions_path(settings.sessions), settings.sessions)
        self._service = Service(served, sessions, settings)
        self._headers = {
            "X-NeuroQ-Worker": str(os.getpid()),
            "X-NeuroQ-Version": version,
            "X-NeuroQ-Checkpoint": served.checkpoint_sha256[:12],
        }
        self.context = context
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer TorchServe's call: one step in continuous batching, a whole batch in plain batching."""
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))

    def preprocess(self, data: list[dict[str, Any]]) -> list[str]:
        """Submit the requests that are new, cancel those that no longer come; return the id of each row."""
        request_ids = [self.context.request_ids[row] for row in range(len(data))]
        self._service.cancel_all_but(set(request_ids))
        for request_id, item in zip(request_ids, data, strict=True):
            if not self._service.knows(request_id):
                self._service.submit(request_id, _body(item))
        return request_ids

    def inference(self, request_ids: list[str]) -> list[Reply | None]:
        """Step the service; return each row's reply, None while it has none (continuous batching only)."""
        replies = self._service.step()
        while not self._continuous and len(replies) < len(request_ids):
            time.sleep(self._service.wait_seconds())
            replies |= self._service.step()
        if self._continuous and not replies:
            time.sleep(self._service.wait_seconds())  # only blocked requests: do not spin
        return [replies.get(request_id) for request_id in request_ids]

    def postprocess(self, replies: list[Reply | None]) -> list[str]:
        """Write the replies with their status; hide from TorchServe the rows that have none yet."""
        outputs = [self._write(row, reply) for row, reply in enumerate(replies)]
        if self._continuous:
            self.context.stopping_criteria = [_whole_reply] * len(replies)
            for row, reply in enumerate(replies):
                if reply is None:
                    self.context.request_ids.pop(row)
        return outputs

    def _write(self, row: int, reply: Reply | None) -> str:
        if reply is None:
            return ""
        self.context.set_response_status(reply.status, "", row)
        self.context.set_response_content_type(row, "application/json")
        for name, value in self._headers.items():
            self.context.set_response_header(row, name, value)
        return json.dumps(reply.body, ensure_ascii=False)


def _whole_reply(_: Any) -> None:
    """TorchServe's stopping criterion: None means that this is no stream but one whole response."""


def _body(item: dict[str, Any]) -> Any:
    """The request's content: REST calls it body, gRPC and form uploads data."""
    return item["body"] if "body" in item else item.get("data", b"")


def _device(gpu_id: int | None) -> torch.device:
    return (
        torch.device("cuda", gpu_id)
        if gpu_id is not None and torch.cuda.is_available()
        else torch.device("cpu")
    )
