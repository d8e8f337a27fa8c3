"""Words as they are written in photos and asked for in queries: one normal form for both.

Case, accents and widths of letters do not count. Chinese and Japanese write no spaces: each of their characters is a
word, and several together are words in order.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from shan_engine.text.function_words import is_function_word

_CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]+)[\"“”„«»]")
_OWNED = re.compile(r"['’]s\b")  # the dog's bowl
_VOICED = "\u3099\u309a"  # marks of Japanese that make another letter
# What a terminal or a page would obey: controls, line ends, marks and overrides of direction.
_ORDERS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " ") | dict.fromkeys(
    (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
)
_ALIKE = str.maketrans("0152869i|", "olszbbgll")  # what a reader takes for each other
_CARRIERS = frozenset(
    """
    sign signs signpost says saying reads reading written writing text word words letters title titled named called
    caption label labelled labeled logo receipt receipts invoice bill ticket book books cover page slide slides
    whiteboard blackboard poster menu card screenshot document letter note newspaper headline banner plate number
    shirt jersey bus tram shop store station street
    schild steht schrift aufschrift text wort titel beschriftung quittung rechnung beleg buch seite folie tafel plakat
    speisekarte bildschirmfoto dokument brief zettel zeitung nummer trikot bahnhof strasse
    panneau dit écrit texte mot titre facture ticket reçu livre diapositive tableau affiche document lettre journal
    numéro maillot gare rue
    letrero cartel dice escrito texto palabra título recibo factura libro página pizarra documento carta número estación
    calle cartello scritto testo parola titolo scontrino fattura libro pagina lavagna documento lettera numero stazione
    via
    """.split()  # noqa: SIM905
)
FEWEST_LETTERS = 3  # of a word that may be misread: below, too many words look alike


@dataclass(frozen=True)
class Sought:
    """Words of a query to be found in order, mostly a single one; `quoted` exactly as they are.

    `prefix` means words that begin so.
    """

    words: tuple[str, ...]
    quoted: bool = False
    prefix: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it has a digit."""
        return any(character.isdigit() for word in self.words for character in word)


def clean_line(text: str) -> str:
    """A line as a gallery keeps it: without anything that a terminal or a page would obey."""
    # A lone half of a pair of surrogates cannot be written.
    return " ".join(text.translate(_ORDERS).encode("utf-8", "replace").decode().split())


def words_of(text: str) -> list[str]:
    """The words of a text in their normal form, in order."""
    return _WORD.findall(_normal(text))


def looks(word: str) -> str:
    """What a word looks like: equal for words that differ by O and 0, l and 1, rn and m and their like."""
    return word.translate(_ALIKE).replace("rn", "m").replace("vv", "w")


def tells_of_text(query: str) -> bool:
    """Whether a query names something that bears text, such as a sign or a receipt, or says that it is written."""
    return any(word in _CARRIERS for word in query.casefold().split())


def sought(query: str) -> tuple[Sought, ...]:
    """What of a query may be written in a photo: its quoted phrases and its other words, each once.

    Words that name nothing are left out of quotation marks. Words that no space parts, such as those of a date, must
    follow each other.
    """
    return tuple(dict.fromkeys(_sought(query)))


def _sought(query: str) -> Iterator[Sought]:
    last = 0
    for quotation in _QUOTED.finditer(query):
        yield from _unquoted(query[last : quotation.start()])
        if words := words_of(quotation[1]):
            yield Sought(tuple(words), quoted=True)
        last = quotation.end()
    yield from _unquoted(query[last:])


def _unquoted(text: str) -> Iterator[Sought]:
    for together in _OWNED.sub("", text).split():
        words = words_of(together)
        prefix = together.endswith("*") and len(words) == 1 and len(words[0]) > 1
        single = len(words) == 1 and (is_function_word(words[0]) or _is_letter(words[0]))
        if words and (prefix or not single):
            yield Sought(tuple(words), prefix=prefix)


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.isalpha() and re.match(f"[{_CJK}]", word) is None


def _normal(text: str) -> str:
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(one for one in apart if unicodedata.category(one) != "Mn" or one in _VOICED)
    return unicodedata.normalize("NFC", bare).casefold()
