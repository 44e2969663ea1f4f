"""A text with what it is mixed with: variants of its dialogues, and built-in dialogues that are rehearsed.

Without a rehearsal a model that learns sixty questions by heart forgets how to converse.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from train.answers import REFUSAL, overlap, questions_of
from train.arguments import TrainingArguments
from train.corpus import BUILT_IN, Corpus, fingerprint
from train.document import Document
from train.variation import vary

MOST_COPIES = 150  # of a document, however small the text is beside what is rehearsed
_MOST_QUESTIONS = 500  # that refusals are compared with
_ALIKE = 0.5  # overlap of two questions that ask the same


@dataclass(frozen=True)
class Mixture:
    """How the training documents of a run become those of an epoch.

    `num_copies` of each document of the text, as `vary` has them, and the built-in dialogues, each once; but
    not those that refuse to answer one of the text's own `questions`.
    """

    num_copies: int
    varies: bool
    rehearses: bool
    seed: int
    questions: tuple[str, ...] = ()

    @classmethod
    def of(cls, arguments: TrainingArguments, text: Iterable[Document]) -> Mixture:
        """Return the mixture in which the built-in dialogues are the share `rehearsal` of all characters."""
        share = arguments.rehearsal
        if not share:
            return cls(1, arguments.vary, False, arguments.seed)
        copies = round(_characters(_built_in()) * (1 - share) / share / max(_characters(text), 1))
        questions = tuple(question.text for question in islice(questions_of(text), _MOST_QUESTIONS))
        return cls(min(max(copies, 1), MOST_COPIES), arguments.vary, True, arguments.seed, questions)

    def copies(self, document: Document) -> Iterator[Document]:
        """Yield what stands for a document of the text in an epoch."""
        for number in range(self.num_copies):
            rng = random.Random(f"{self.seed}/{document.key}/{number}")
            yield vary(document, rng) if self.varies else document

    def rehearsed(self) -> Iterator[Document]:
        """Yield the built-in documents that go with the text."""
        for document in _built_in() if self.rehearses else ():
            if not self._refuses_what_is_known(document):
                rng = random.Random(f"{self.seed}/{document.key}")
                yield vary(document, rng) if self.varies else document

    def _refuses_what_is_known(self, document: Document) -> bool:
        return any(
            overlap(refused.text, question) >= _ALIKE
            for refused in questions_of([document])
            if refused.wanted and REFUSAL.search(refused.wanted)
            for question in self.questions
        )


def mixture_key(arguments: TrainingArguments) -> str:
    """Return what tells the mixtures of two runs with one text apart; empty for the text as it stands."""
    if not arguments.rehearsal and not arguments.vary:
        return ""
    rehearsed = fingerprint(_built_in()) if arguments.rehearsal else ""
    return f"{arguments.rehearsal}/{arguments.vary}/{arguments.seed}/{rehearsed}"


def _built_in() -> Iterator[Document]:
    return (document for document in Corpus([str(BUILT_IN)]) if document.turns)


def _characters(documents: Iterable[Document]) -> int:
    return sum(document.num_characters for document in documents)
