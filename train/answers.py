"""Whether a model answers as it was taught: each question's reply beside the one that is wanted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from model.backend import open_decoder
from model.dialogue import Turn, encode_prompt
from model.engine import Engine
from model.network import NeuroQ
from model.sampling import SamplingParams
from model.text import normalize
from model.tokenizer import Tokenizer
from train.document import Document

LEAST_OVERLAP = 0.7  # of a fitting reply's pairs of characters with the wanted one's (Dice)
_GREEDY = SamplingParams(max_new_tokens=120, temp_min=0.0, temp_max=0.0)
_ROOM = 2  # a prompt may fill the context up to a half, as in serving
_NUM_SLOTS = 16
_NUMBER = re.compile(r"\d+")
_PUNCTUATION = re.compile(r"[\s、。，．？！「」（）()・]")
# How a reply says that it does not know, at its beginning or its end.
REFUSAL = re.compile(
    r"(分かりません|わかりません|知りません|存じません|分からない(ん|の)です|知らない(ん|の)です|お答えできません"
    r"|答えられません|持っていません|見られません|調べられません|お伝えできません|聞いていません|うかがっていません)"
)


@dataclass(frozen=True)
class Question:
    """A question after its history, and the reply that is wanted; none for what the text does not answer."""

    history: tuple[Turn, ...]
    text: str
    wanted: str | None


@dataclass(frozen=True)
class Answer:
    """What the model replied, and how that is judged."""

    question: Question
    reply: str

    @property
    def is_exact(self) -> bool:
        """Whether the reply is the wanted one, but for the form that `normalize` makes equal."""
        return self.question.wanted is not None and _form(self.reply) == _form(self.question.wanted)

    @property
    def is_fitting(self) -> bool:
        """Whether it is exact, or has the wanted one's numbers and most of its pairs of characters."""
        wanted = self.question.wanted
        if wanted is None or self.is_exact:
            return self.is_exact
        same_numbers = set(_NUMBER.findall(_form(self.reply))) == set(_NUMBER.findall(_form(wanted)))
        return same_numbers and overlap(self.reply, wanted) >= LEAST_OVERLAP

    @property
    def is_right(self) -> bool:
        """Whether it fits, or is a refusal where one is wanted."""
        return self.is_refused if self.question.wanted is None else self.is_fitting

    @property
    def is_refused(self) -> bool:
        """Whether the reply says that it does not know, unless just that is wanted."""
        return not self.is_exact and bool(REFUSAL.search(self.reply))


@dataclass(frozen=True)
class AnswerScore:
    """Counts over known questions and over those that the text does not answer (`foreign`)."""

    known: int
    exact: int
    fitting: int
    refused: int
    foreign: int
    foreign_refused: int
    broken: int  # replies with a character that is none

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> AnswerScore:
        """Count."""
        held = list(answers)
        known = [answer for answer in held if answer.question.wanted is not None]
        foreign = [answer for answer in held if answer.question.wanted is None]
        return cls(
            known=len(known),
            exact=sum(answer.is_exact for answer in known),
            fitting=sum(answer.is_fitting for answer in known),
            refused=sum(answer.is_refused for answer in known),
            foreign=len(foreign),
            foreign_refused=sum(answer.is_refused for answer in foreign),
            broken=sum("\ufffd" in answer.reply for answer in held),
        )

    def __str__(self) -> str:
        parts = [f"{self.exact} of {self.known} exact, {self.fitting} fitting, {self.refused} refused"]
        if self.foreign:
            parts.append(f"{self.foreign_refused} of {self.foreign} foreign questions refused")
        if self.broken:
            parts.append(f"{self.broken} broken")
        return "; ".join(parts)


def questions_of(documents: Iterable[Document]) -> Iterator[Question]:
    """Yield a question for each reply of the dialogues, in their order."""
    for document in documents:
        for number, turn in enumerate(document.turns):
            if turn.role == "assistant" and number:
                yield Question(document.turns[: number - 1], document.turns[number - 1].text, turn.text)


def foreign_questions(documents: Iterable[Document]) -> list[Question]:
    """Return a question to be refused for each document: the text, or what the user asks first."""
    texts = (document.turns[0].text if document.turns else document.text for document in documents)
    return [Question((), text, None) for text in texts]


def ask(network: NeuroQ, tokenizer: Tokenizer, questions: Sequence[Question]) -> list[Answer]:
    """Return the replies of a network in inference mode to the questions, greedily, each on its own."""
    decoder = open_decoder(network, num_slots=_NUM_SLOTS, end_ids=tokenizer.stop_ids)
    engine = Engine(
        decoder,
        temperature=network.quantum_temperature,
        end_ids=tokenizer.stop_ids,
        max_waiting=len(questions),
    )
    replies: dict[Hashable, list[int]] = {}
    for number, question in enumerate(questions):
        ids = encode_prompt(
            tokenizer,
            question.history,
            question.text,
            style="dialogue",
            max_tokens=engine.context_length // _ROOM,
        )
        if len(ids) <= engine.context_length:
            engine.add(number, ids, _GREEDY)
            replies[number] = []
    while engine.num_running or engine.num_waiting:
        for request, progress in engine.step(_GREEDY.max_new_tokens).items():
            replies[request].extend(progress.new_ids)
    texts = (tokenizer.decode(replies.get(number, [])) for number in range(len(questions)))
    return [Answer(*pair) for pair in zip(questions, texts, strict=True)]


def overlap(one: str, two: str) -> float:
    """Return how many pairs of characters two texts share, from 0 to 1 (Dice's coefficient)."""
    a, b = pairs_of(one), pairs_of(two)
    return 2 * (a & b).total() / (a.total() + b.total())


def pairs_of(text: str) -> Counter[str]:
    """Return the pairs of characters of a text in its one form, punctuation left out."""
    text = _PUNCTUATION.sub("", _form(text))
    return Counter(text[i : i + 2] for i in range(max(len(text) - 1, 1)))


def _form(text: str) -> str:
    return normalize(text).strip()
