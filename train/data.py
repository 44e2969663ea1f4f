"""The text of a run: read, split, and encoded by its tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.dialogue import Style
from model.tokenizer import Tokenizer
from train.arguments import TrainingArguments
from train.aside import aside
from train.corpus import BUILT_IN, Corpus, files_of
from train.document import CorpusError
from train.encoded import EncodedDocument, EncodedDocuments
from train.licences import licences_of
from train.mixture import Mixture, mixture_key
from train.survey import SAMPLE_CHARACTERS, Survey, survey
from train.symbols import warn_of_missing
from train.token_cache import CacheKey, TokenCache, cache_path, find_cache, write_cache
from train.tokenizer import affordable_vocab_size, train_tokenizer


@dataclass(frozen=True)
class Data:
    """The documents of a run as token ids, with the tokenizer that made them, and the text itself."""

    corpus: Corpus
    cache: TokenCache
    fingerprint: str
    tokenizer: Tokenizer
    licences: list[dict[str, Any]]

    @property
    def train(self) -> EncodedDocuments:
        """The documents to train on."""
        return self.cache.train

    @property
    def validation(self) -> EncodedDocuments:
        """The documents that are held out."""
        return self.cache.validation

    @property
    def style(self) -> Style:
        """How the model will be asked: as a dialogue when it saw any, else as text to go on with."""
        return "dialogue" if self.train.is_dialogue.any() else "text"


def load_data(
    arguments: TrainingArguments,
    say: Callable[[str], None],
    tokenizer: Tokenizer | None = None,
    fingerprint: str | None = None,
) -> Data:
    """Read the text as a stream, train the tokenizer on it unless there is one, and encode it.

    `tokenizer` and `fingerprint` are those of a run that goes on: while its token cache is there and no file
    of the text has changed since, nothing is read. Raises CorpusError, TokenizerError.
    """
    corpus = Corpus(arguments.texts or (str(BUILT_IN),))
    if tokenizer is None and arguments.tokenizer_path:
        tokenizer = Tokenizer.load(Path(arguments.tokenizer_path))
    data = _cached(arguments, corpus, tokenizer, fingerprint) or _read(arguments, corpus, tokenizer, say)
    if fingerprint not in (None, data.fingerprint):
        names = ", ".join(arguments.texts) or "the built-in corpus"
        raise CorpusError(
            f"the text has changed since the run began, or {names} is another one: it cannot be resumed"
        )
    say(f"{len(data.train)} documents to train on, {len(data.validation)} held out for validation")
    return data


def _cached(
    arguments: TrainingArguments, corpus: Corpus, tokenizer: Tokenizer | None, fingerprint: str | None
) -> Data | None:
    if tokenizer is None or fingerprint is None or corpus.stamp is None:
        return None
    path, key = _place(arguments, fingerprint, tokenizer)
    cache = find_cache(path, key)
    if cache is None or cache.stamp != corpus.stamp:
        return None
    return Data(corpus, cache, fingerprint, tokenizer, licences_of(files_of(corpus.sources)))


def _read(
    arguments: TrainingArguments, corpus: Corpus, tokenizer: Tokenizer | None, say: Callable[[str], None]
) -> Data:
    """Read the text once to survey it, and once more to encode it unless a cache holds it."""
    stamp = corpus.stamp
    sample = 0 if tokenizer else SAMPLE_CHARACTERS
    share = arguments.validation_fraction
    found = survey(corpus, share, sample)
    say(str(corpus.tally))
    if share > 0 and not found.held_out:
        say(f"nothing is held out: no document is so small a part of the text as {share:.2%}")
    if arguments.init_from and tokenizer:
        warn_of_missing(corpus, tokenizer, say)
    tokenizer = tokenizer or _train_tokenizer(found, arguments.vocab_size, say)
    path, key = _place(arguments, found.fingerprint, tokenizer)
    cache = find_cache(path, key) or write_cache(
        path,
        key,
        _encoded(corpus, found, tokenizer, Mixture.of(arguments, corpus)),
        vocab_size=tokenizer.vocab_size,
        stamp=stamp,
    )
    return Data(corpus, cache, found.fingerprint, tokenizer, licences_of(files_of(corpus.sources)))


def _place(arguments: TrainingArguments, fingerprint: str, tokenizer: Tokenizer) -> tuple[Path, CacheKey]:
    key = CacheKey(fingerprint, arguments.validation_fraction, tokenizer.sha256, mixture_key(arguments))
    return cache_path(Path(arguments.checkpoint_path)), key


def _train_tokenizer(found: Survey, vocab_size: int, say: Callable[[str], None]) -> Tokenizer:
    say(f"training the tokenizer on {sum(d.num_characters for d in found.sample):,} characters")
    affordable = affordable_vocab_size(vocab_size, found.sample)
    tokenizer = aside(lambda: train_tokenizer(found.sample, affordable))
    if tokenizer.vocab_size < vocab_size:
        say(f"the text carries {tokenizer.vocab_size} symbols, not {vocab_size}")
    return tokenizer


def _encoded(
    corpus: Corpus, found: Survey, tokenizer: Tokenizer, mixture: Mixture
) -> Iterator[tuple[EncodedDocument, bool]]:
    """Yield each document and whether it is held out. Raises CorpusError unless it is the surveyed text."""
    digest = hashlib.sha256()
    for document in corpus:
        digest.update(document.digest)
        if document.key in found.held_out:
            yield EncodedDocument.of(document, tokenizer), True
        else:
            for copy in mixture.copies(document):
                yield EncodedDocument.of(copy, tokenizer), False
    for document in mixture.rehearsed():
        yield EncodedDocument.of(document, tokenizer), False
    if digest.hexdigest() != found.fingerprint:
        raise CorpusError("the text changed while it was read")
