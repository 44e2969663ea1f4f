"""The request schema: five actions, in both body forms, every range stated once."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails

from handler.errors import ApiError, invalid_request
from model.sampling import SamplingParams

MAX_PROMPT_CHARACTERS = 100_000
_Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
_SessionId = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Stop = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Temperature = Annotated[float, Field(ge=0, le=2)]
# A parameter of the contract that this version takes at its default only.
_NotYet = "not available in this version, leave it out or send {0}"


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class HealthRequest(_Request):
    """Is the worker alive?"""

    action: Literal["health"]


class StatusRequest(_Request):
    """What is served, and how busy is it?"""

    action: Literal["status"]


class ClearSessionRequest(_Request):
    """Forget a conversation."""

    action: Literal["clear_session"]
    session_id: _SessionId = "default"


class TrainRequest(_Request):
    """Refused here: training is an offline job. The seed's parameters are checked all the same."""

    action: Literal["train"]
    texts: list[_Text] | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 25
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    lr: Annotated[float, Field(gt=0, le=10)] = 0.002
    seq_length: Annotated[int, Field(ge=8, le=65_536)] = 48
    checkpoint_path: _Text | None = None


class GenerateRequest(_Request):
    """Continue a conversation by one reply."""

    action: Literal["generate"] = "generate"
    prompt: _Text
    max_length: Annotated[int, Field(ge=1, le=1024)] = 50
    temperature: _Temperature = 0.5
    temp_min: _Temperature | None = None
    temp_max: _Temperature | None = None
    session_id: _SessionId | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 40
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] = 1.2
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=4)] = Field(default_factory=list)
    quantum_noise: bool = False
    stream: bool = False
    logprobs: bool | int | None = None
    n: Annotated[int, Field(ge=1, le=1)] = 1

    @model_validator(mode="after")
    def _check(self) -> GenerateRequest:
        low, high = self.temperature_range
        if low > high:
            raise ValueError(f"temp_min must not exceed temp_max, got {low:g} and {high:g}")
        if self.stream:
            raise ValueError("stream: " + _NotYet.format("false"))
        if self.logprobs:
            raise ValueError("logprobs: " + _NotYet.format("null"))
        return self

    @property
    def temperature_range(self) -> tuple[float, float]:
        """(temp_min, temp_max); a bound that is missing is 0.8 or 1.2 times the temperature."""
        low = 0.8 * self.temperature if self.temp_min is None else self.temp_min
        high = 1.2 * self.temperature if self.temp_max is None else self.temp_max
        return low, high

    @property
    def stop_strings(self) -> list[str]:
        """Texts that end the reply before they appear in it."""
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def sampling(self, seed: int) -> SamplingParams:
        """Return the engine's parameters with the seed that was chosen."""
        low, high = self.temperature_range
        return SamplingParams(
            max_new_tokens=self.max_length,
            temp_min=low,
            temp_max=high,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            quantum_noise=self.quantum_noise,
            seed=seed,
        )


Request = HealthRequest | StatusRequest | GenerateRequest | ClearSessionRequest | TrainRequest
ACTIONS: dict[str, type[Request]] = {
    "health": HealthRequest,
    "status": StatusRequest,
    "generate": GenerateRequest,
    "clear_session": ClearSessionRequest,
    "train": TrainRequest,
}


def parse(body: Any) -> Request:
    """Read a request from JSON bytes, a JSON string or decoded JSON. Raises ApiError (400)."""
    inner = _inner_object(_decode(body))
    action = inner.get("action", "generate")
    if not isinstance(action, str):
        raise invalid_request(f"action: must be a string, one of {', '.join(ACTIONS)}")
    if action not in ACTIONS:
        raise ApiError(
            400, "unknown_action", f"unknown action {action[:100]!r}", available_actions=list(ACTIONS)
        )
    try:
        return ACTIONS[action].model_validate({**inner, "action": action})
    except ValidationError as error:
        raise invalid_request("; ".join(_explain(ACTIONS[action], e) for e in error.errors()[:5])) from error


def _decode(body: Any) -> Any:
    if isinstance(body, (bytes, bytearray, str)):
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _not_an_object() from error
    return body


def _inner_object(body: Any) -> dict[str, Any]:
    if isinstance(body, dict) and "input" in body:
        others = sorted(set(body) - {"input"})
        if others:
            raise invalid_request(f"unknown field beside input: {', '.join(others)[:200]}")
        body = body["input"]
    if not isinstance(body, dict):
        raise _not_an_object()
    return body


def _not_an_object() -> ApiError:
    forms = '{"input": {"action": …}} or the inner object'
    return invalid_request(f"the body must be a JSON object in UTF-8: {forms}")


def _explain(request: type[Request], error: ErrorDetails) -> str:
    """One sentence that names the field and what it may be."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0])[:100]
    if error["type"] == "extra_forbidden":
        return f"{name}: unknown parameter; {', '.join(request.model_fields)} are known"
    if error["type"] == "missing":
        return f"{name}: is required"
    return f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}{_range(request, name)}"


def _range(request: type[Request], name: str) -> str:
    """The allowed range of a field, from its constraints."""
    schema = request.model_json_schema()["properties"].get(name, {})
    for part in (schema, *schema.get("anyOf", [])):
        low, high = part.get("minimum", part.get("exclusiveMinimum")), part.get("maximum")
        if high is not None:
            above = " (not itself)" if "exclusiveMinimum" in part else ""
            return f" (allowed: {low}{above} to {high})"
        if "maxLength" in part:
            return f" (allowed: {part.get('minLength', 0)} to {part['maxLength']} characters)"
    return ""
