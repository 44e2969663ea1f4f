"""`python -m deploy.runpod`: wait for the server of NEUROQ_RUN_DIR, then take RunPod's jobs to it.

RunPod's own options are understood; `--rp_serve_api --rp_api_port 8000` serves its local API for a try.
"""

import logging
import os
import sys

from runpod import RunPodLogger, serverless

from client.options import settings_from
from deploy.runpod.settings import read_concurrency
from deploy.runpod.torchserve import TorchServe, wait_until_ready
from deploy.runpod.worker import Worker
from server.errors import ServerError

START_TIMEOUT = 600.0
LOG_LEVELS = {"RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL"}


def main() -> int:
    """Run until a signal comes. Returns the exit code."""
    keep_texts_out_of_the_log()
    try:
        run_dir = settings_from({}).run_dir
        concurrency = read_concurrency(os.environ)
        wait_until_ready(run_dir, START_TIMEOUT)
    except ServerError as error:
        print(f"neuroq: {error}", file=sys.stderr)
        return error.exit_code
    worker = Worker(TorchServe(run_dir))
    config = {
        "handler": worker.handle,
        "return_aggregate_stream": True,  # /run and /runsync give all items as `output`
        "concurrency_modifier": lambda _current: concurrency,
    }
    arguments, _ = serverless.parser.parse_known_args()
    if arguments.rp_serve_api:
        from deploy.runpod.local_api import serve_local_api  # noqa: PLC0415  # web server, for trials only

        serve_local_api(worker, config, arguments)
    else:
        serverless.start(config)
    return 0


def keep_texts_out_of_the_log() -> None:
    """RunPod's default is DEBUG, which writes down every prompt and reply."""
    if not LOG_LEVELS & os.environ.keys():
        RunPodLogger().set_level("INFO")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request


if __name__ == "__main__":
    sys.exit(main())
