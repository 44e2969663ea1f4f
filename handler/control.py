"""Answers that need no engine: health, status, and the start of a training job or the refusal to train."""

from __future__ import annotations

from handler.errors import ApiError, stopping
from handler.in_flight import InFlight
from handler.jobs import Jobs
from handler.replies import Reply
from handler.schema import HealthRequest, StatusRequest, TrainRequest
from handler.served_model import ServedModel
from handler.sessions import SessionStore

OFFLINE_COMMAND = "./neuroq train my_text.txt"
ControlRequest = HealthRequest | StatusRequest | TrainRequest


class Control:
    """Knows what is served; the load is told with each question."""

    def __init__(
        self,
        served: ServedModel,
        sessions: SessionStore,
        precision: str,
        in_flight: InFlight,
        jobs: Jobs | None,
    ) -> None:
        """Without `jobs` no request trains."""
        self._device, self._sessions = str(served.device), sessions
        self._in_flight, self._jobs = in_flight, jobs
        self._description = {**served.description(), "precision": precision}

    def answer(self, request: ControlRequest, *, num_running: int, num_waiting: int) -> Reply:
        """Answer at once. Raises ApiError for a training that is not started, and 503 at the stop."""
        if isinstance(request, HealthRequest):
            return self._health()
        if isinstance(request, StatusRequest):
            return self._status(num_running, num_waiting)
        return self._train(request)

    def _train(self, request: TrainRequest) -> Reply:
        if self._jobs is None:
            refusal = f"this server never trains; train offline: {OFFLINE_COMMAND}"
            raise ApiError(403, "train_disabled", refusal, command=OFFLINE_COMMAND)
        job_id = self._jobs.start(request)
        message = "the job runs beside the server; status tells how far it is"
        return Reply(202, {"status": "accepted", "job_id": job_id, "message": message})

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
                "sessions_available": not self._sessions.is_away,
                "training_job": self._jobs.latest() if self._jobs else None,
            },
        )
