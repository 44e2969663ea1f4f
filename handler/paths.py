"""Which API speaks on which path below /predictions/NAME/VERSION, and on KServe's."""

from __future__ import annotations

from datetime import datetime

from handler.errors import ApiError
from handler.exchange import Api
from handler.kserve_api import KserveApi
from handler.neuroq_api import NeuroqApi
from handler.openai_api import ChatApi, CompletionApi, Identity, refusal
from handler.replies import Reply
from handler.served_model import ServedModel
from handler.streams import KSERVE_PATH

_OPENAI = "v1/"


def paths(served: ServedModel, default_session: str | None) -> dict[str, Api | Reply]:
    """Return the API of each path, or the answer of those that have only one."""
    trained_at = served.lineage.get("trained_at")
    created_at = int(datetime.fromisoformat(trained_at).timestamp()) if trained_at else 0
    identity = Identity(served.name, served.checkpoint_sha256[:12], created_at)
    return {
        "": NeuroqApi(served.version, default_session),
        KSERVE_PATH: KserveApi(served.version, default_session),
        f"{_OPENAI}chat/completions": ChatApi(identity),
        f"{_OPENAI}completions": CompletionApi(identity),
        f"{_OPENAI}models": Reply(200, {"object": "list", "data": [identity.card()]}),
        f"{_OPENAI}models/{served.name}": Reply(200, identity.card()),
    }


def unknown_path(path: str) -> Reply:
    """Return the answer of a path that nobody speaks on, in the words of those nearby."""
    error = ApiError(404, "not_found", f"there is nothing at {path[:200]!r}")
    return Reply(404, refusal(error) if path.startswith(_OPENAI) else error.body)
