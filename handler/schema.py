"""The request schema: five actions, in both body forms, every range stated once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from handler.errors import ApiError, invalid_request
from handler.generation import Generation, Prompt
from handler.validation import (
    Fields,
    NumChoices,
    NumLogprobs,
    RepetitionPenalty,
    Seed,
    StopText,
    StopTexts,
    Temperature,
    Text,
    TopK,
    TopP,
    decode,
    not_an_object,
    stop_tuple,
    validated,
)
from model.sampling import SamplingParams

_SessionId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class HealthRequest(Fields):
    """Is the worker alive?"""

    action: Literal["health"]


class StatusRequest(Fields):
    """What is served, and how busy is it?"""

    action: Literal["status"]


class ClearSessionRequest(Fields):
    """Forget a conversation."""

    action: Literal["clear_session"]
    session_id: _SessionId = "default"


class TrainRequest(Fields):
    """Train in a job beside the server, where the operator allows it; the seed's parameters."""

    action: Literal["train"]
    texts: list[Text] | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 25
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    lr: Annotated[float, Field(gt=0, le=10)] = 0.002
    seq_length: Annotated[int, Field(ge=8, le=65_536)] = 48
    checkpoint_path: Text | None = None


class GenerateRequest(Fields):
    """Continue a conversation by one reply."""

    action: Literal["generate"] = "generate"
    prompt: Text
    max_length: Annotated[int, Field(ge=1, le=1024)] = 50
    temperature: Temperature = 0.5
    temp_min: Temperature | None = None
    temp_max: Temperature | None = None
    session_id: _SessionId | None = None
    top_k: TopK = 40
    top_p: TopP = 0.9
    repetition_penalty: RepetitionPenalty = 1.2
    seed: Seed | None = None
    stop: StopText | StopTexts = Field(default_factory=list)
    quantum_noise: bool = False
    stream: bool = False
    logprobs: bool | NumLogprobs | None = None
    n: NumChoices = 1

    @model_validator(mode="after")
    def _check(self) -> GenerateRequest:
        low, high = self.temperature_range
        if low > high:
            raise ValueError(f"temp_min must not exceed temp_max, got {low:g} and {high:g}")
        return self

    @property
    def temperature_range(self) -> tuple[float, float]:
        """(temp_min, temp_max); a bound that is missing is 0.8 or 1.2 times the temperature."""
        low = 0.8 * self.temperature if self.temp_min is None else self.temp_min
        high = 1.2 * self.temperature if self.temp_max is None else self.temp_max
        return low, high

    @property
    def num_logprobs(self) -> int | None:
        """Alternatives told beside each token: true is none, None no log probabilities at all."""
        if self.logprobs is None or self.logprobs is False:
            return None
        return int(self.logprobs) if self.logprobs is not True else 0

    def generation(self, default_session: str | None) -> Generation:
        """Return what is to be generated; a request without `session_id` goes on with the default session."""
        low, high = self.temperature_range
        params = SamplingParams(
            max_new_tokens=self.max_length,
            temp_min=low,
            temp_max=high,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            quantum_noise=self.quantum_noise,
            logprobs=self.num_logprobs,
        )
        return Generation(
            prompts=(Prompt(self.prompt),),
            params=params,
            seed=self.seed,
            num_choices=self.n,
            stop=stop_tuple(self.stop),
            stream=self.stream,
            session_id=self.session_id or default_session,
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
    inner = _inner_object(decode(body))
    action = inner.get("action", "generate")
    if not isinstance(action, str):
        raise invalid_request(f"action: must be a string, one of {', '.join(ACTIONS)}", "action")
    if action not in ACTIONS:
        raise ApiError(
            400, "unknown_action", f"unknown action {action[:100]!r}", available_actions=list(ACTIONS)
        )
    return validated(ACTIONS[action], {**inner, "action": action})


def _inner_object(body: Any) -> dict[str, Any]:
    if isinstance(body, dict) and "input" in body:
        others = sorted(set(body) - {"input"})
        if others:
            raise invalid_request(f"unknown field beside input: {', '.join(others)[:200]}")
        body = body["input"]
    if not isinstance(body, dict):
        raise not_an_object()
    return body
