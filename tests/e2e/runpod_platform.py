"""A stand-in for RunPod's side of a worker: jobs to take, jobs to stop, places for pieces and results.

The `runpod` package's own worker loop talks to it, at the addresses that RunPod puts into a container.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from typing import Any
from urllib.parse import parse_qs, urlsplit

LONG_POLL = 0.1
NO_CONTENT = 204


class Platform:
    """Gives out jobs as they are submitted and keeps what comes back, by the job's id.

    `is_asked` is set once a worker wants something.
    Whoever sends a piece is answered when `gate` is set.
    """

    def __init__(self) -> None:
        self.jobs: Queue[dict[str, Any]] = Queue()
        self.stops: Queue[str] = Queue()
        self.taken: set[str] = set()
        self.pieces: dict[str, list[Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.num_stop_polls = 0
        self.is_asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        handler = type("Handler", (_Handler,), {"platform": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What RunPod's containers have, and no checks of a GPU and of the internet."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "RUNPOD_POD_ID": "pod",
            "RUNPOD_WEBHOOK_GET_JOB": f"{url}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{url}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    def submit(self, job_id: str, **inner: Any) -> None:
        self.jobs.put({"id": job_id, "input": inner})

    def result(self, job_id: str) -> dict[str, Any]:
        wait_until(lambda: job_id in self.results)
        return self.results[job_id]

    def stop_job(self, job_id: str) -> None:
        """Signal it, and return when the worker has heard and asks for the next signal."""
        self.stops.put(job_id)
        wait_until(self.stops.empty)
        seen = self.num_stop_polls
        wait_until(lambda: self.num_stop_polls > seen)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class _Handler(BaseHTTPRequestHandler):
    platform: Platform
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.platform.is_asked.set()
        kind, query = self.path.split("/")[1], parse_qs(urlsplit(self.path).query)
        if kind == "job-stop":
            self.platform.num_stop_polls += 1
            stops = _take(self.platform.stops, 1)
            self._answer({"jobsToStop": stops} if stops else None)
            return
        jobs = _take(self.platform.jobs, int(query.get("batch_size", ["1"])[0]))
        self.platform.taken |= {job["id"] for job in jobs}
        self._answer((jobs if kind == "job-take-batch" else jobs[0]) if jobs else None)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, kind, _pod, job_id = urlsplit(self.path).path.split("/")
        if kind == "job-stream":
            self.platform.pieces.setdefault(job_id, []).append(body["output"])
            self.platform.gate.wait(60)
        else:
            self.platform.results[job_id] = body
        self._answer({})

    def _answer(self, body: object) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(NO_CONTENT if body is None else 200)
        if body is not None:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _take(waiting: Queue[Any], most: int) -> list[Any]:
    """The next ones of a queue, at most so many; waits a moment for the first."""
    found: list[Any] = []
    try:
        found.append(waiting.get(timeout=LONG_POLL))
        while len(found) < most:
            found.append(waiting.get_nowait())
    except Empty:
        pass
    return found
