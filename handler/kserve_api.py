"""KServe's protocol v1, which TorchServe takes at /v1/models/NAME:predict."""

from __future__ import annotations

from typing import Any

from handler.errors import invalid_request
from handler.exchange import Action, Exchange
from handler.generation import Generation
from handler.neuroq_api import NeuroqApi
from handler.validation import decode


class KserveApi(NeuroqApi):
    """The plain API's `generate` in an envelope: {"instances": [REQUEST]} in, {"predictions": [REPLY]} out.

    One request a call: those of several calls are decoded together anyway, and each has its own errors.
    """

    def parse(self, body: Any) -> Action:
        """Read the one instance. Raises ApiError (400)."""
        action = super().parse(_only_instance(decode(body)))
        if not isinstance(action, Generation):
            raise invalid_request("action: only generate is answered here, others at /predictions", "action")
        return action

    def reply(self, exchange: Exchange) -> dict[str, Any]:
        """Return the one prediction."""
        return {"predictions": [super().reply(exchange)]}


def _only_instance(body: Any) -> Any:
    if not isinstance(body, dict) or body.keys() != {"instances"}:
        raise invalid_request('the body must be {"instances": [REQUEST]}', "instances")
    instances = body["instances"]
    if not isinstance(instances, list) or len(instances) != 1:
        raise invalid_request("instances: must be a list of one request", "instances")
    return instances[0]
