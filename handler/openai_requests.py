"""The requests of OpenAI's chat and completion paths: what is understood, and what it means here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from handler.errors import invalid_request
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
from model.dialogue import Role, Turn
from model.sampling import SamplingParams

MAX_SEQUENCES = 16  # replies of one request: prompts times n
_MaxTokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Zero = Annotated[float, Field(ge=0, le=0)]


class TextPart(Fields):
    """A part of a message's content."""

    type: Literal["text"]
    text: Text


class Message(Fields):
    """One message of a chat; a system message is the user's words to the model."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    @property
    def speaker(self) -> Role:
        """Who says it in a dialogue of two."""
        return "assistant" if self.role == "assistant" else "user"


class StreamOptions(Fields):
    """How a stream ends."""

    include_usage: bool = False
    include_obfuscation: bool = False  # padding against eavesdroppers: there is none


class ResponseFormat(Fields):
    """Plain text is the only one."""

    type: Literal["text"]


class _SharedFields(Fields):
    """What both paths take. `temperature` is exact; top_k and repetition_penalty are ours (extra_body)."""

    model: Text
    temperature: Temperature = 0.5
    top_p: TopP = 0.9
    top_k: TopK = 40
    repetition_penalty: RepetitionPenalty = 1.2
    n: NumChoices = 1
    stop: StopText | StopTexts = Field(default_factory=list)
    seed: Seed | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    presence_penalty: _Zero = 0
    frequency_penalty: _Zero = 0
    user: str | None = None

    def _generation(
        self, prompts: tuple[Prompt, ...], max_new_tokens: int, logprobs: int | None
    ) -> Generation:
        params = SamplingParams(
            max_new_tokens=max_new_tokens,
            temp_min=self.temperature,
            temp_max=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            logprobs=logprobs,
        )
        return Generation(
            prompts=prompts,
            params=params,
            seed=self.seed,
            num_choices=self.n,
            stop=stop_tuple(self.stop),
            stream=self.stream,
            tells_usage=self.stream_options is not None and self.stream_options.include_usage,
        )


class ChatRequest(_SharedFields):
    """`POST …/v1/chat/completions`. Without `max_tokens` a reply ends by itself or with the context."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: _MaxTokens | None = None
    max_completion_tokens: _MaxTokens | None = None
    logprobs: bool = False
    top_logprobs: NumLogprobs | None = None
    response_format: ResponseFormat | None = None

    def generation(self) -> Generation:
        """Return what is to be generated. Raises ApiError (400) unless the last word is the user's."""
        turns = _joined(self.messages)
        if turns[-1].role != "user":
            raise invalid_request("messages: the last one must be the user's", "messages")
        if self.top_logprobs is not None and not self.logprobs:
            raise invalid_request("top_logprobs: needs logprobs true", "top_logprobs")
        max_new_tokens = self.max_completion_tokens or self.max_tokens or 2**31 - 1
        prompt = Prompt(turns[-1].text, tuple(turns[:-1]))
        return self._generation(
            (prompt,), max_new_tokens, (self.top_logprobs or 0) if self.logprobs else None
        )


class CompletionRequest(_SharedFields):
    """`POST …/v1/completions`: each prompt is asked as `generate` asks it, without a conversation."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_SEQUENCES)]
    max_tokens: _MaxTokens = 16  # OpenAI's default
    logprobs: NumLogprobs | None = None
    echo: Literal[False] = False
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None

    def generation(self) -> Generation:
        """Return what is to be generated. Raises ApiError (400) for too many replies."""
        texts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if len(texts) * self.n > MAX_SEQUENCES:
            raise invalid_request(f"prompt: at most {MAX_SEQUENCES} replies, prompts times n", "prompt")
        return self._generation(tuple(map(Prompt, texts)), self.max_tokens, self.logprobs)


def read(kind: type[ChatRequest] | type[CompletionRequest], body: Any) -> ChatRequest | CompletionRequest:
    """Read a body. Raises ApiError (400). In OpenAI's API null is as good as left out."""
    fields = decode(body)
    if not isinstance(fields, dict):
        raise not_an_object()
    return validated(kind, _without_nulls(fields))


def _without_nulls(value: Any) -> Any:
    """Drop the null members of objects, also in the messages: clients send back replies as they came."""
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value


def _joined(messages: list[Message]) -> list[Turn]:
    """Return turns of alternating speakers: messages in a row of one speaker are one turn."""
    turns: list[Turn] = []
    for message in messages:
        if turns and turns[-1].role == message.speaker:
            turns[-1] = Turn(message.speaker, f"{turns[-1].text}\n{message.text}")
        else:
            turns.append(Turn(message.speaker, message.text))
    return turns
