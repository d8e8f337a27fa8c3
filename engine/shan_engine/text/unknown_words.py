"""Captions whose words a model mostly does not know: another language, or another vocabulary."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from shan_engine.text.tokenizer import Tokenized, has_letter, shortened


@dataclass
class UnknownWords:
    """Counts captions of which the model knows less than half of the words; `example` is the first such caption."""

    captions: int = 0
    mostly_unknown: int = 0
    example: str = ""

    def add(self, caption: str, read: Tokenized, unknown: Collection[str] | None = None) -> None:
        """Count a caption, of whose words `unknown` are unknown; by default those that its tokenizer does not know."""
        unknown = read.unknown if unknown is None else unknown
        words = [word.text for word in read.words if has_letter(word.text)]
        self.captions += 1
        if 2 * sum(word in unknown for word in words) > len(words):
            self.mostly_unknown += 1
            self.example = self.example or caption

    def sentence(self) -> str:
        """How many captions are mostly unknown, with their share; empty where none are."""
        if not self.mostly_unknown:
            return ""
        share = 100 * self.mostly_unknown / self.captions
        return (
            f"most words of {self.mostly_unknown:,} of {self.captions:,} captions ({share:.1f} %) are unknown to the "
            f"model, such as those of '{shortened(self.example)}'"
        )
