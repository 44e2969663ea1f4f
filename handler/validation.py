"""Reading a request's body: JSON to checked fields, and what is wrong with them in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from handler.errors import ApiError, invalid_request

MAX_PROMPT_CHARACTERS = 100_000
MAX_CHOICES = 8
MAX_LOGPROBS = 20
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=100)]
StopTexts = Annotated[list[StopText], Field(max_length=4)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopK = Annotated[int, Field(ge=0, le=1_000_000)]
TopP = Annotated[float, Field(gt=0, le=1)]
RepetitionPenalty = Annotated[float, Field(ge=0.1, le=10)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
NumChoices = Annotated[int, Field(ge=1, le=MAX_CHOICES)]
NumLogprobs = Annotated[int, Field(ge=0, le=MAX_LOGPROBS)]


class Fields(BaseModel):
    """The base of every request: exact types, no unknown field, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


_Kind = TypeVar("_Kind", bound=Fields)


def decode(body: Any) -> Any:
    """Return the JSON value of bytes or a string; other values as they are. Raises ApiError (400)."""
    if isinstance(body, (bytes, bytearray, str)):
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise not_an_object() from error
    return body


def not_an_object() -> ApiError:
    """The error of a body that is no JSON object."""
    return invalid_request("the body must be a JSON object in UTF-8")


def validated(kind: type[_Kind], fields: Mapping[str, Any]) -> _Kind:
    """Return the request with these fields. Raises ApiError (400) that names the fields that are wrong."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        errors = error.errors()
        named = next((str(e["loc"][0])[:100] for e in errors if e["loc"]), None)
        message = "; ".join(dict.fromkeys(_explain(kind, e) for e in errors[:5]))
        raise invalid_request(message, named) from error


def stop_tuple(stop: str | list[str] | None) -> tuple[str, ...]:
    """One stop string or several, as a tuple."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _explain(kind: type[Fields], error: ErrorDetails) -> str:
    """One sentence that names the field and what it may be."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0])[:100]
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        return f"{name}: unknown parameter; {', '.join(kind.model_fields)} are known"
    if error["type"] == "missing" and len(error["loc"]) == 1:
        return f"{name}: is required"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}: {message[0].lower()}{message[1:]}{_range(kind, name)}"


def _range(kind: type[Fields], name: str) -> str:
    """The allowed range of a field, from its constraints."""
    schema = kind.model_json_schema()["properties"].get(name, {})
    for part in (schema, *schema.get("anyOf", [])):
        low, high = part.get("minimum", part.get("exclusiveMinimum")), part.get("maximum")
        if high is not None:
            above = " (not itself)" if "exclusiveMinimum" in part else ""
            return f" (allowed: {low}{above} to {high})"
        if "maxLength" in part:
            return f" (allowed: {part.get('minLength', 0)} to {part['maxLength']} characters)"
    return ""
