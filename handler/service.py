"""The service behind the five actions: requests in, replies out, one engine step at a time.

It knows neither TorchServe nor HTTP: the handler feeds it, tests can too.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from handler.choices import Choice
from handler.control import Control, ControlRequest
from handler.conversations import DEFAULT_SESSION, Conversations
from handler.errors import ApiError, internal_error, stopping
from handler.exchange import Api, Exchange, Incoming, SequenceId
from handler.generation import Generation
from handler.in_flight import InFlight
from handler.jobs import Jobs
from handler.metrics import Metrics
from handler.pace import Pace
from handler.paths import paths, unknown_path
from handler.pieces import Pieces
from handler.replies import Answer, Event, Reply, StreamPart
from handler.schema import ClearSessionRequest
from handler.served_model import ServedModel
from handler.sessions import SessionStore
from handler.settings import HandlerSettings
from handler.vocabulary import Vocabulary
from model.backend import open_decoder
from model.dialogue import Turn
from model.engine import Engine, EngineFullError, Progress, PromptTooLongError
from model.sampling import SamplingParams

_HOLD_MARGIN = 5.0  # seconds that a session stays held after the deadline of the request that holds it
_RETRY_SECONDS = 0.02  # between two looks at a session that another request holds
_logger = logging.getLogger(__name__)


class Service:
    """Accepts requests, decodes them together, keeps their conversations in order.

    `submit` and `cancel` never raise and never wait; `step` returns the replies that are ready. A request
    that fails takes nobody else with it.
    """

    def __init__(
        self,
        served: ServedModel,
        sessions: SessionStore,
        settings: HandlerSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._served, self._settings, self._clock = served, settings, clock
        decoder = open_decoder(
            served.network,
            num_slots=settings.slots,
            end_ids=served.tokenizer.stop_ids,
            device=served.device,
            threads=settings.threads,
            precision=settings.precision,
            scores=served.precision_scores,
        )
        self._engine = Engine(
            decoder,
            temperature=served.network.quantum_temperature,
            end_ids=served.tokenizer.stop_ids,
            max_waiting=settings.max_waiting,
        )
        self._pace = Pace()
        self._vocabulary = Vocabulary(served.tokenizer)
        default_session = DEFAULT_SESSION if settings.sessions.share_default else None
        self._paths = paths(served, default_session)
        self._in_flight = InFlight(settings.in_flight_path)
        jobs = Jobs(settings.training) if settings.training.enabled else None
        self._control = Control(served, sessions, decoder.precision, self._in_flight, jobs)
        self.metrics = Metrics(settings.slots, sessions.count, clock)
        self.conversations = Conversations(sessions, settings.sessions.store_away)
        self._exchanges: dict[str, Exchange] = {}  # in order of arrival
        self._replies: dict[str, Answer] = {}

    @property
    def num_in_flight(self) -> int:
        """Requests that are not fully answered."""
        return len(self._exchanges)

    def submit(self, request_id: str, body: Any, *, path: str = "", can_stream: bool = True) -> None:
        """Take a request: its body is JSON bytes, a JSON string, or decoded JSON.

        `path` names the API (the plain one, or OpenAI's). A caller that cannot stream gets one whole reply.
        """
        incoming = self.receive(body, path)
        if isinstance(incoming, Reply):
            self._replies[request_id] = incoming
        else:
            self.accept(request_id, incoming, can_stream=can_stream)

    def receive(self, body: Any, path: str = "") -> Incoming | Reply:
        """Read a request, and answer it if that needs no engine. Changes nothing but the counts."""
        api = self._paths.get(path)
        if api is None:
            self.metrics.ended("not_found")
            return unknown_path(path)
        if isinstance(api, Reply):
            return api
        try:
            action = api.parse(body)
            if isinstance(action, ControlRequest):
                return self._control.answer(
                    action, num_running=self._engine.num_running, num_waiting=self._num_waiting
                )
            if isinstance(action, Generation):
                action.check_size(self._engine.context_length)
            return Incoming(api, action, self.metrics.arrived())
        except ApiError as error:
            return self._refuse(api, error)
        except Exception:
            _logger.exception("a request could not be read")
            return self._refuse(api, internal_error())

    def accept(self, request_id: str, incoming: Incoming, *, can_stream: bool = True) -> None:
        """Take a request that needs the engine or a session."""
        deadline = self._clock() + self._settings.deadline_seconds
        api, action, timeline = incoming.api, incoming.action, incoming.timeline
        exchange = Exchange(request_id, api, action, deadline, can_stream, timeline)
        taken = sum(other.num_sequences for other in self._exchanges.values())
        if taken + exchange.num_sequences > self._settings.slots + self._settings.max_waiting:
            refusal = ApiError(503, "overloaded", "too many requests are waiting, try again later")
            self._fail(exchange, refusal)
        elif not self._in_flight.enter():
            self._fail(exchange, stopping())
        else:
            self._exchanges[request_id] = exchange

    def cancel(self, request_id: str) -> None:
        """Forget a request whose client is gone; its slots and its session are free at once."""
        self._replies.pop(request_id, None)
        if request_id in self._exchanges:
            self._end(self._exchanges[request_id], "cancelled")

    def cancel_all_but(self, request_ids: set[str]) -> None:
        """Forget every request that is not among these."""
        for request_id in (self._exchanges.keys() | self._replies.keys()) - request_ids:
            self.cancel(request_id)

    def step(self, *, decodes: bool = True) -> dict[str, Answer]:
        """Move every request on, or all but their decoding; return what is ready to be sent, each once."""
        self._expire()
        self._hear()
        self._start_waiting()
        if decodes:
            self._decode()
        self.metrics.load(running=self._engine.num_running, waiting=self._num_waiting)
        replies, self._replies = self._replies, {}
        return replies

    def wait_seconds(self) -> float | None:
        """How long a caller that loops may sleep before the next step, None: until something is submitted."""
        if self._engine.num_running or self._engine.num_waiting or self._replies:
            return 0.0
        return _RETRY_SECONDS if self._exchanges else None

    @property
    def _num_waiting(self) -> int:
        exchanges = list(self._exchanges.values())  # a copy: another thread may ask
        return self._engine.num_waiting + sum(not exchange.is_running for exchange in exchanges)

    def _expire(self) -> None:
        now = self._clock()
        for exchange in [e for e in self._exchanges.values() if now > e.deadline]:
            seconds = self._settings.deadline_seconds
            self._fail(exchange, ApiError(504, "deadline_exceeded", f"not done within {seconds:g} seconds"))

    def _hear(self) -> None:
        """Go on with each request that the store of the conversations has answered."""
        for exchange in list(self._exchanges.values()):
            if exchange.inquiry and exchange.inquiry.result.done():
                self._guarded(exchange, self.conversations.go_on)

    def _start_waiting(self) -> None:
        """Start each request whose session is free, the first of each session first."""
        now, taken = self._clock(), set()
        for exchange in list(self._exchanges.values()):
            is_waiting = not exchange.is_running and not exchange.inquiry
            if is_waiting and exchange.session_id not in taken and now >= exchange.next_look:
                self._guarded(exchange, self._start)
            if exchange.session_id:
                taken.add(exchange.session_id)

    def _start(self, exchange: Exchange) -> None:
        if exchange.session_id is None:
            self.conversations.check()
            self._begin(exchange, [])
        else:
            hold = max(exchange.deadline - self._clock(), 0) + _HOLD_MARGIN
            self.conversations.take(exchange, hold, self._begin)

    def _begin(self, exchange: Exchange, history: list[Turn] | None) -> None:
        if history is None:
            exchange.holds_session = False
            exchange.next_look = self._clock() + _RETRY_SECONDS
            return
        exchange.is_running = True
        if isinstance(exchange.request, ClearSessionRequest):
            self.conversations.forget(exchange, self._confirm)
        else:
            self._generate(exchange, history)

    def _confirm(self, exchange: Exchange, _: None) -> None:
        exchange.holds_session = False
        message = f"session {exchange.session_id} is cleared"
        self._finish(exchange, Reply(200, {"status": "success", "message": message}), "cleared")

    def _generate(self, exchange: Exchange, history: list[Turn]) -> None:
        """Give the engine one sequence for each reply to each prompt."""
        generation = exchange.generation
        exchange.seed = secrets.randbelow(2**31) if generation.seed is None else generation.seed
        for prompt in generation.prompts:
            prompt_ids = self._served.encode(prompt, history, generation.params.max_new_tokens)
            for _ in range(generation.num_choices):
                index = len(exchange.choices)
                params = generation.params_of(index, exchange.seed)
                pieces = Pieces(generation.stop)
                exchange.choices.append(Choice(index, params.seed, len(prompt_ids), pieces, self._vocabulary))
                self._add(SequenceId(exchange.request_id, index), prompt_ids, params)

    def _add(self, sequence_id: SequenceId, prompt_ids: list[int], params: SamplingParams) -> None:
        try:
            self._engine.add(sequence_id, prompt_ids, params)
        except PromptTooLongError as error:
            raise ApiError(400, "prompt_too_long", f"prompt: {error}", param="prompt") from error
        except EngineFullError as error:
            raise ApiError(503, "overloaded", str(error)) from error

    def _decode(self) -> None:
        young, everyone = self._engine.num_young, self._engine.num_running + self._engine.num_waiting
        budget = self._pace.budget(num_young=young, num_others=everyone - young)
        begun = self._clock()
        try:
            progress = self._engine.step(self._settings.tokens_per_step, budget)
        except Exception:
            _logger.exception("the engine failed; %d requests are lost", self.num_in_flight)
            for exchange in list(self._exchanges.values()):
                self._fail(exchange, internal_error())
            return
        if not progress:
            return
        num_tokens = sum(len(news.new_ids) for news in progress.values())
        self._pace.note(num_tokens, self._clock() - begun)
        self.metrics.step(len(progress), num_tokens)
        moved: dict[str, dict[int, Progress]] = defaultdict(dict)
        for sequence_id, news in progress.items():
            assert isinstance(sequence_id, SequenceId)
            moved[sequence_id.request_id][sequence_id.choice] = news
        for request_id, news_by_choice in moved.items():
            self._guarded(self._exchanges[request_id], partial(self._advance, news=news_by_choice))

    def _advance(self, exchange: Exchange, news: dict[int, Progress]) -> None:
        """Take what a step brought to a request's replies, and hand out what may be shown."""
        exchange.timeline.tokens(max(len(progress.new_ids) for progress in news.values()))
        for index, progress in news.items():
            choice = exchange.choices[index]
            if choice.num_tokens == 0:
                self.metrics.prompt(choice.num_prompt_tokens, progress.cached_tokens)
            choice.accept(progress)
            if choice.finish_reason and not progress.finish_reason:  # at a stop string, unknown to the engine
                self._engine.cancel(SequenceId(exchange.request_id, index))
        if exchange.is_finished:
            self._answer(exchange)
        elif exchange.streams:
            events = exchange.take_events()
            if events:
                exchange.has_begun = True
                self._replies[exchange.request_id] = StreamPart(tuple(events), is_last=False)

    def _answer(self, exchange: Exchange) -> None:
        """Put the reply into its conversation, then send it, or the end of its stream."""
        send = partial(self._send, events=exchange.take_events())
        if exchange.session_id is None:
            send(exchange)
        else:
            prompt, text = exchange.generation.prompts[0].text, exchange.choices[0].whole.text
            self.conversations.keep(exchange, [Turn("user", prompt), Turn("assistant", text)], send)

    def _send(self, exchange: Exchange, events: list[Event]) -> None:
        if exchange.streams:
            all_events = (*events, *exchange.api.last_events(exchange))
            answer: Answer = StreamPart(all_events, is_last=True)
        else:
            answer = Reply(200, exchange.api.reply(exchange))
        self._finish(exchange, answer, exchange.choices[0].finish_reason or "")

    def _guarded(self, exchange: Exchange, move: Callable[[Exchange], None]) -> None:
        """Make a move; a failure is this request's alone."""
        try:
            move(exchange)
        except ApiError as error:
            self._fail(exchange, error)
        except Exception:
            _logger.exception("request %s failed", exchange.request_id)
            self._fail(exchange, internal_error())

    def _fail(self, exchange: Exchange, error: ApiError) -> None:
        refusal = exchange.api.refusal(error)
        begun = exchange.has_begun
        answer = StreamPart((refusal,), is_last=True) if begun else Reply(error.status, refusal)
        self._finish(exchange, answer, error.code)

    def _refuse(self, api: Api, error: ApiError) -> Reply:
        self.metrics.ended(error.code)
        return Reply(error.status, api.refusal(error))

    def _finish(self, exchange: Exchange, answer: Answer, outcome: str) -> None:
        self._end(exchange, outcome)
        self._replies[exchange.request_id] = answer

    def _end(self, exchange: Exchange, outcome: str) -> None:
        """Let go of everything that a request holds, and count it."""
        exchange.timeline.end()
        self.metrics.ended(outcome)
        self._exchanges.pop(exchange.request_id, None)
        if not self._exchanges:
            self._in_flight.leave()
        for choice in exchange.choices:
            self._engine.cancel(SequenceId(exchange.request_id, choice.index))
        self.conversations.let_go(exchange)
