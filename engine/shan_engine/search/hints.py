"""What to tell about a query that cannot work as it is written: negation, quotation marks, another language."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shan_engine.parts.written import WrittenWords
from shan_engine.search.query import Query
from shan_engine.text.tokenizer import Tokenized, has_letter

_NEGATION = re.compile(r"\b(?:no|not|never|without|except|ohne|keine?[nmr]?|sans)\b|\w+n['’]t\b", re.IGNORECASE)
_QUOTATION = re.compile(r"[\"“”„«»]")


def hints(query: Query, readings: Iterable[Tokenized], written: WrittenWords | None = None) -> tuple[str, ...]:
    """A sentence for each thing in the wanted phrases that a search does not understand.

    With `written`, words may also be found as they are written in photos.
    """
    wanted = [phrase.text for phrase in query.phrases if phrase.weight > 0]
    said = [
        f"'{found.group()}' excludes nothing: describe what is there, and give the rest with --without"
        for text in wanted
        if (found := _NEGATION.search(text))
    ]
    quoted = any(_QUOTATION.search(text) for text in wanted)
    if quoted and written is None:
        said.append("quotation marks do not ask for exact words: every word counts alone")
    readings = list(readings)
    words = [word.text for reading in readings for word in reading.words if has_letter(word.text)]
    unknown = {word for reading in readings for word in reading.unknown}
    is_written = written is not None and any(map(written.finds, wanted))
    if 2 * sum(word in unknown for word in words) > len(words) and not is_written:
        said.append("the model does not know most of these words: try others, or another language")
    return tuple(dict.fromkeys(said))
