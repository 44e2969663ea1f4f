"""The TorchServe handler: `preprocess`, `inference`, `postprocess` around the service.

TorchServe calls `handle` in one of two ways, told apart by `continuousBatching` in model-config.yaml:
- continuous batching: once a step, with every active request, new and old;
- plain batching: once a batch, with new requests only, which must all be answered when it returns. Parts of
  streams go out before by send_intermediate_predict_response.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from handler import worker_log, worker_place
from handler.driver import Driver
from handler.outbox import Outbox
from handler.read_ahead import read_ahead
from handler.replies import Answer, StreamPart
from handler.reporter import Reporter
from handler.served_model import ServedModel
from handler.service import Service
from handler.sessions import open_sessions
from handler.settings import read_settings
from handler.streams import Caller

# How long a call waits for something to send before TorchServe may bring new requests. Short, because it is
# what a health check waits for; not shorter, because each call costs a processor some milliseconds.
_PATIENCE = 0.003  # seconds
# TorchServe's thread reads requests in Python for milliseconds: the service must not wait so long.
_SWITCH_INTERVAL = 0.0005  # seconds


class NeuroQHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no type hints
    """Serves one model version in one worker process."""

    def __init__(self) -> None:
        super().__init__()
        self._continuous = False
        self._place: worker_place.WorkerPlace
        self._driver: Driver
        self._reads_ahead = False
        self._outbox: Outbox

    def initialize(self, context: Any) -> None:
        """Load the archive's model. Any error here keeps the worker from becoming READY, with its reason."""
        config = context.model_yaml_config or {}
        settings = read_settings(config, os.environ)
        version = context.manifest["model"]["modelVersion"]
        self._continuous = bool(config.get("continuousBatching"))
        self._place = worker_place.claim(context.model_name, version, only_one=self._continuous)
        torch.set_num_threads(1)  # several collapse beside other work; `threads` are the native decoder's
        served = ServedModel.load(
            Path(context.system_properties["model_dir"]),
            name=context.model_name,
            version=version,
            device=_device(context.system_properties.get("gpu_id")),
        )
        sessions = open_sessions(settings.sessions)
        sys.setswitchinterval(_SWITCH_INTERVAL)
        self._driver = Driver(partial(Service, served, sessions, settings))
        labels = {"model_name": context.model_name, "model_version": version}
        Reporter(self._driver.metrics, context.metrics, labels, self._place).start()
        worker_log.quiet()
        headers = {
            "Worker": str(os.getpid()),
            "Version": version,
            "Checkpoint": served.checkpoint_sha256[:12],
        }
        self._outbox = Outbox({f"X-NeuroQ-{name}": value for name, value in headers.items()})
        self.context = context
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer TorchServe's call: one step in continuous batching, a whole batch in plain batching."""
        if not self._reads_ahead:
            read_ahead(context.cl_socket)
            self._reads_ahead = True
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))

    def preprocess(self, data: list[dict[str, Any]]) -> list[str]:
        """Submit the requests that are new, cancel those that no longer come; return the id of each row."""
        request_ids = [self.context.request_ids[row] for row in range(len(data))]
        self._outbox.close_all_but(set(request_ids))
        self._driver.cancel_all_but(set(request_ids))
        for row, (request_id, item) in enumerate(zip(request_ids, data, strict=True)):
            if not self._outbox.knows(request_id):
                properties = self.context.get_all_request_header(row)
                caller = Caller.of(properties, item, continuous=self._continuous)
                self._outbox.open(request_id, caller)
                self._driver.submit(request_id, _body(item), path=caller.path, can_stream=caller.can_stream)
        return request_ids

    def inference(self, request_ids: list[str]) -> list[Answer | None]:
        """Return each row's answer, None while it has none (continuous batching only)."""
        answers = self._driver.take(_PATIENCE) if self._continuous else self._whole_batch(request_ids)
        return [answers.get(request_id) for request_id in request_ids]

    def postprocess(self, answers: list[Answer | None]) -> list[bytes]:
        """Write the answers with their status; hide from TorchServe the rows that have none yet."""
        return self._outbox.write(self.context, answers)

    def _whole_batch(self, request_ids: list[str]) -> dict[str, Answer]:
        """Wait until every request has its last answer. A stream's last event waits for the others, too."""
        last: dict[str, Answer] = {}
        rows = {request_id: row for row, request_id in enumerate(request_ids)}
        while len(last) < len(request_ids):
            parts: dict[int, StreamPart] = {}
            for request_id, answer in self._driver.take(seconds=1.0).items():
                now, later = answer.split()
                if now:
                    parts[rows[request_id]] = now
                if later:
                    last[request_id] = later
            self._outbox.send_parts(self.context, parts)
        return last


def _body(item: dict[str, Any]) -> Any:
    """The request's content: REST calls it body, gRPC and form uploads data."""
    return item["body"] if "body" in item else item.get("data", b"")


def _device(gpu_id: int | None) -> torch.device:
    return (
        torch.device("cuda", gpu_id)
        if gpu_id is not None and torch.cuda.is_available()
        else torch.device("cpu")
    )
