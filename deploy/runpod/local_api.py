"""The `runpod` package's local API server, and the cancelling that it lacks.

It keeps a job of /run until /stream or /status asks for it, runs it then, and answers at its end.
"""

from argparse import Namespace
from typing import Any

from runpod.serverless.modules.rp_fastapi import WorkerAPI, job_list

from deploy.runpod.worker import Worker


def serve_local_api(worker: Worker, config: dict[str, Any], arguments: Namespace) -> None:
    """Serve /run, /runsync, /stream/ID, /status/ID and /cancel/ID until a signal comes."""

    async def cancel(job_id: str) -> dict[str, str]:
        """Cancel a job that waits or runs, as RunPod does."""
        if not worker.cancel(job_id) and job_list.get(job_id) is None:
            return {"id": job_id, "status": "FAILED", "error": "Job ID not found"}
        job_list.remove(job_id)
        return {"id": job_id, "status": "CANCELLED"}

    api = WorkerAPI(config)
    api.rp_app.add_api_route("/cancel/{job_id}", cancel, methods=["POST"])
    api.start_uvicorn(arguments.rp_api_host, arguments.rp_api_port)
