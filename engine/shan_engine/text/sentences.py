"""Sentences of a caption as NLTK's `word_tokenize` splits them, with the parameters of its Punkt model.

The engine reads a caption as one sentence. Most published models were trained on words that NLTK had split sentence by
sentence: a full stop inside a caption is then a word of its own. A vocabulary may hold Punkt's parameters for that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shan_engine.base.errors import InputError

_FILES = {
    "abbreviations": "abbrev_types.txt",
    "collocations": "collocations.tab",
    "starters": "sent_starters.txt",
    "context": "ortho_context.tab",
}
_FIX = "give the folder english of NLTK's punkt_tab"


@dataclass(frozen=True)
class Sentences:
    """Punkt's parameters (Kiss and Strunk, 2006): abbreviations, pairs of words that a full stop does not part, words
    that begin sentences, and in which cases and places it has seen each word."""

    abbreviations: tuple[str, ...]
    collocations: tuple[tuple[str, str], ...]
    starters: tuple[str, ...]
    context: tuple[tuple[str, int], ...]

    @classmethod
    def read(cls, folder: Path) -> Sentences:
        """From a folder of `punkt_tab`. Raises InputError where a file is missing or damaged."""
        try:
            lines = {name: (folder / file).read_text("utf-8").split("\n") for name, file in _FILES.items()}
        except OSError as error:
            raise InputError(f"cannot read {error.filename}: {error.strerror}; {_FIX}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{folder} is not UTF-8 ({error}): {_FIX}") from error
        rows = {name: [line.split("\t") for line in held if line] for name, held in lines.items()}
        return cls.from_json(
            {
                name: held if name in ("collocations", "context") else [row[0] for row in held]
                for name, held in rows.items()
            }
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sentences:
        """From `as_json`'s lists. Raises InputError where they are damaged."""
        try:
            return cls(
                tuple(map(str, data["abbreviations"])),
                tuple((str(one), str(other)) for one, other in data["collocations"]),
                tuple(map(str, data["starters"])),
                tuple((str(word), int(seen)) for word, seen in data["context"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the parameters of Punkt are damaged ({error}): {_FIX}") from error

    def as_json(self) -> dict[str, Any]:
        """Lists, for a JSON file."""
        return {name: getattr(self, name) for name in _FILES}

    def split(self, text: str) -> list[str]:
        """The sentences of a text."""
        found: list[str] = self._punkt.tokenize(text)
        return found

    @cached_property
    def _punkt(self) -> Any:
        from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

        held = PunktParameters()
        held.abbrev_types, held.collocations = set(self.abbreviations), set(self.collocations)
        held.sent_starters, held.ortho_context = set(self.starters), defaultdict(int, self.context)
        return PunktSentenceTokenizer(held)
