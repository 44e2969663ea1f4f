"""A text with what it is mixed with: variants of its dialogues, and built-in dialogues that are rehearsed.

Without a rehearsal a model that learns sixty questions by heart forgets how to converse.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice

from model.dialogue import Turn
from train.answers import REFUSAL, overlap, questions_of
from train.arguments import TrainingArguments
from train.corpus import BUILT_IN, Corpus, fingerprint
from train.document import Document
from train.variation import vary

MOST_REHEARSED = (
    600_000  # characters of built-in dialogues, drawn by the seed: more take more than two minutes
)
MOST_COPIES = 150  # of a document, however small the text is beside what is rehearsed
_MOST_QUESTIONS = 500  # that refusals are compared with
_SHARED = 0.7  # of the variants of a question have the reply of its topic
_ALIKE = 0.5  # overlap of two questions that ask the same


@dataclass(frozen=True)
class Mixture:
    """How the training documents of a run become those of an epoch.

    `num_copies` of each document of the text, as `vary` has them, and the share `rehearsed_share` of the
    built-in dialogues, each once; but not those that refuse to answer one of the text's own `questions`.
    `replies` are the first ones of each topic.
    """

    num_copies: int
    varies: bool
    rehearsed_share: float
    seed: int
    replies: Mapping[str, Turn]
    questions: tuple[str, ...] = ()

    @classmethod
    def of(cls, arguments: TrainingArguments, text: Iterable[Document]) -> Mixture:
        """Return the mixture in which the built-in dialogues are the share `rehearsal` of all characters."""
        share, copies = arguments.rehearsal, arguments.copies
        if not share:
            replies = _replies(text) if arguments.vary else {}
            return cls(copies, arguments.vary, 0.0, arguments.seed, replies)
        num_built_in = _characters(_built_in())
        rehearsed = min(num_built_in, MOST_REHEARSED)
        fill = round(rehearsed * (1 - share) / share / max(_characters(text), 1))
        questions = tuple(question.text for question in islice(questions_of(text), _MOST_QUESTIONS))
        copies, replies = min(max(fill, copies), MOST_COPIES), _replies(chain(_built_in(), text))
        return cls(copies, arguments.vary, rehearsed / num_built_in, arguments.seed, replies, questions)

    def copies(self, document: Document) -> Iterator[Document]:
        """Yield what stands for a document of the text in an epoch."""
        for number in range(self.num_copies):
            yield self._varied(document, number)

    def rehearsed(self) -> Iterator[Document]:
        """Yield the built-in documents that go with the text."""
        for document in _built_in() if self.rehearsed_share else ():
            is_drawn = random.Random(f"{self.seed}/rehearsed/{document.key}").random() < self.rehearsed_share
            if is_drawn and not self._refuses_what_is_known(document):
                yield self._varied(document, 0)

    def _varied(self, document: Document, number: int) -> Document:
        """Return a variant: other wordings, and mostly the one reply that its topic's questions share.

        A small network that is taught eight replies to one question mixes them; one of them it can learn.
        """
        if not self.varies:
            return document
        rng = random.Random(f"{self.seed}/{document.key}/{number}")
        if document.topic and len(document.turns) == 2 and rng.random() < _SHARED:
            document = replace(document, turns=(document.turns[0], self.replies[document.topic]))
        return vary(document, rng)

    def _refuses_what_is_known(self, document: Document) -> bool:
        return any(
            overlap(refused.text, question) >= _ALIKE
            for refused in questions_of([document])
            if refused.wanted and REFUSAL.search(refused.wanted)
            for question in self.questions
        )


def mixture_key(arguments: TrainingArguments) -> str:
    """Return what tells the mixtures of two runs with one text apart; empty for the text as it stands."""
    parts = (arguments.rehearsal, arguments.vary, arguments.copies)
    if parts == (0.0, False, 1):
        return ""
    rehearsed = fingerprint(_built_in()) if arguments.rehearsal else ""
    return "/".join(map(str, (*parts, arguments.seed, rehearsed)))


def _replies(documents: Iterable[Document]) -> dict[str, Turn]:
    """Return the reply of each topic: the first one of its first dialogue."""
    replies: dict[str, Turn] = {}
    for document in documents:
        if document.topic and len(document.turns) > 1:
            replies.setdefault(document.topic, document.turns[1])
    return replies


def _built_in() -> Iterator[Document]:
    return (document for document in Corpus([str(BUILT_IN)]) if document.turns)


def _characters(documents: Iterable[Document]) -> int:
    return sum(document.num_characters for document in documents)
