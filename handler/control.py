"""Answers that need no engine: health, status, and the refusal to train."""

from __future__ import annotations

from handler.errors import ApiError, stopping
from handler.in_flight import InFlight
from handler.replies import Reply
from handler.schema import HealthRequest, StatusRequest, TrainRequest
from handler.served_model import ServedModel
from handler.sessions import SessionStore

OFFLINE_COMMAND = "./neuroq train my_text.txt"
ControlRequest = HealthRequest | StatusRequest | TrainRequest


class Control:
    """Knows what is served; the load is told with each question."""

    def __init__(
        self, served: ServedModel, sessions: SessionStore, precision: str, in_flight: InFlight
    ) -> None:
        self._device, self._sessions, self._in_flight = str(served.device), sessions, in_flight
        self._description = {**served.description(), "precision": precision}

    def answer(self, request: ControlRequest, *, num_running: int, num_waiting: int) -> Reply:
        """Answer at once. Raises ApiError: 403 for training, 503 for health while the server is stopped."""
        if isinstance(request, HealthRequest):
            return self._health()
        if isinstance(request, StatusRequest):
            return self._status(num_running, num_waiting)
        refusal = f"this server never trains; train offline: {OFFLINE_COMMAND}"
        raise ApiError(403, "train_disabled", refusal, command=OFFLINE_COMMAND)

    def _health(self) -> Reply:
        if self._in_flight.is_closed:
            raise stopping()
        return Reply(
            200,
            {
                "status": "healthy",
                "device": self._device,
                "cuda_available": self._device.startswith("cuda"),
                "model_initialized": True,
            },
        )

    def _status(self, num_running: int, num_waiting: int) -> Reply:
        return Reply(
            200,
            {
                "status": "ok",
                "initialized": True,
                **self._description,
                "requests_running": num_running,
                "requests_waiting": num_waiting,
                "sessions": self._sessions.count(),
                "training_job": None,
            },
        )
