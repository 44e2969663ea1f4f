"""A text with what it is mixed with: variants of its dialogues, and built-in dialogues that are rehearsed.

Without a rehearsal a model that learns sixty questions by heart forgets how to converse. Questions and
answers of one's own are what a model is to know: it goes on conversing, and refuses what is asked beyond.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice

from model.dialogue import Turn
from train.alike import Alike
from train.answers import REFUSAL, questions_of
from train.arguments import TrainingArguments
from train.corpus import BUILT_IN, Corpus, fingerprint
from train.document import Document
from train.variation import vary

MOST_REHEARSED = (
    600_000  # characters of built-in dialogues, drawn by the seed: more take more than two minutes
)
MOST_COPIES = 150  # of a document, however small the text is beside what is rehearsed
_MOST_QUESTIONS = 5000  # that refusals are compared with
_ALIKE = 0.5  # overlap of two questions that ask the same
_CONVERSATION, _KNOWLEDGE = (str(BUILT_IN / name) for name in ("conversation", "knowledge"))
_REFUSED = Turn("assistant", "申し訳ありませんが、それについては分かりません。")


@dataclass(frozen=True)
class Mixture:
    """How the training documents of a run become those of an epoch.

    `num_copies` of each document of the text, as `vary` has them, and the share `rehearsed_share` of the
    built-in dialogues, each once. With `refuses` what these know is refused, unless it is among the text's
    `questions`.
    """

    num_copies: int
    varies: bool
    rehearsed_share: float
    seed: int
    questions: tuple[str, ...] = ()
    refuses: bool = False

    @classmethod
    def of(cls, arguments: TrainingArguments, text: Iterable[Document]) -> Mixture:
        """Return the mixture in which the built-in dialogues are the share `rehearsal` of all characters."""
        share, copies = arguments.rehearsal, arguments.copies
        if not share:
            return cls(copies, arguments.vary, 0.0, arguments.seed)
        questions = tuple(question.text for question in islice(questions_of(text), _MOST_QUESTIONS))
        refuses = bool(questions) and arguments.refuse
        num_built_in = _characters(_built_in(refuses=refuses))
        rehearsed = min(num_built_in, MOST_REHEARSED)
        fill = round(rehearsed * (1 - share) / share / max(_characters(text), 1))
        copies = min(max(fill, copies), MOST_COPIES)
        return cls(copies, arguments.vary, rehearsed / num_built_in, arguments.seed, questions, refuses)

    def copies(self, document: Document) -> Iterator[Document]:
        """Yield what stands for a document of the text in an epoch."""
        for number in range(self.num_copies):
            yield self._varied(document, number)

    def rehearsed(self) -> Iterator[Document]:
        """Yield the built-in documents that go with the text."""
        for document in _built_in(refuses=self.refuses) if self.rehearsed_share else ():
            is_drawn = random.Random(f"{self.seed}/rehearsed/{document.key}").random() < self.rehearsed_share
            if is_drawn and not self._refuses_what_is_known(document):
                yield self._varied(document, 0)

    def _varied(self, document: Document, number: int) -> Document:
        if not self.varies:
            return document
        return vary(document, random.Random(f"{self.seed}/{document.key}/{number}"))

    def _refuses_what_is_known(self, document: Document) -> bool:
        return any(
            question.text in self._known
            for question in questions_of([document])
            if question.wanted and REFUSAL.search(question.wanted)
        )

    @cached_property
    def _known(self) -> Alike:
        return Alike(self.questions, _ALIKE)


def mixture_key(arguments: TrainingArguments) -> str:
    """Return what tells the mixtures of two runs with one text apart; empty for the text as it stands."""
    parts = (arguments.rehearsal, arguments.vary, arguments.copies, arguments.refuse)
    if parts[:3] == (0.0, False, 1):
        return ""
    rehearsed = fingerprint(_built_in(refuses=False)) if arguments.rehearsal else ""
    return "/".join(map(str, (*parts, arguments.seed, rehearsed)))


def _built_in(*, refuses: bool) -> Iterator[Document]:
    """Yield the built-in dialogues; with `refuses`, of those about knowledge the first question, refused."""
    knowledge = _dialogues(_KNOWLEDGE)
    if refuses:
        knowledge = (Document(turns=(document.turns[0], _REFUSED)) for document in knowledge)
    return chain(_dialogues(_CONVERSATION), knowledge)


def _dialogues(place: str) -> Iterator[Document]:
    return (document for document in Corpus([place]) if document.turns)


def _characters(documents: Iterable[Document]) -> int:
    return sum(document.num_characters for document in documents)
