"""Which lines of a photo a query's words are written in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from shan_engine.base.text_lines import TextLine
from shan_engine.parts.written import WrittenWords
from shan_engine.search.query import Query
from shan_engine.text.written import Sought, sought, words_of

MOST_LINES = 3
_Begun = tuple[int, Sought, float]
"""What begins with a word: its number among what is looked for, itself, and how much it counts."""


def lines_found(words: WrittenWords, query: Query, photos: Sequence[Sequence[TextLine]]) -> list[tuple[TextLine, ...]]:
    """The few lines of each photo where most of the wanted phrases' words are written, in reading order."""
    wanted = [one for phrase in query.phrases if phrase.weight > 0 for one in sought(phrase.text)]
    begun: dict[str, list[_Begun]] = defaultdict(list)
    for number, one in enumerate(wanted):
        # Of words in order, only the first begins one.
        for word, _, counts in words.forms(one)[: 1 if len(one.words) > 1 else None]:
            begun[word].append((number, one, counts))
    return [_best(begun, lines) for lines in photos]


def _best(begun: Mapping[str, Sequence[_Begun]], lines: Sequence[TextLine]) -> tuple[TextLine, ...]:
    at, written = [], list[str]()
    for number, line in enumerate(lines):
        own = words_of(line.text)
        at += [number] * len(own)
        written += own
    worth: dict[int, dict[int, float]] = defaultdict(dict)  # of a line, for each of the words that are looked for
    for place, word in enumerate(written):
        for asked, one, counts in begun.get(word, ()):
            end = place + len(one.words)
            if len(one.words) == 1 or tuple(written[place:end]) == one.words:
                for number in range(at[place], at[end - 1] + 1):
                    worth[number][asked] = max(counts, worth[number].get(asked, 0.0))
    best = sorted(worth, key=lambda number: (-sum(worth[number].values()), number))
    return tuple(lines[number] for number in sorted(best[:MOST_LINES]))
