"""Generate a querybank: queries of many topics, half of them short, over which a bundle measures hubness.

Hubness by captions is not hubness by what people type, so the queries are not captions of a data set. They are put
together at random from the names in the table of classes and from lists of everyday words in four languages
(`querybank_words.json`). The same seed gives the same queries.

    python -m shan_export.querybank --output querybank.txt
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from shan_engine.base.files import replacing
from shan_model.classes.table import ClassTable

WORDS = Path(__file__).with_name("querybank_words.json")
SIZE = 2000
LANGUAGES = {"en": 0.7, "de": 0.1, "es": 0.1, "fr": 0.1}
"""Shares of a bank's queries."""
AND = {"en": "and", "de": "und", "es": "y", "fr": "et"}
VOWELS = tuple("aeiou")
ARTICLES = frozenset(["a", "an", "ein", "eine", "un", "une", "una"])

Lists = dict[str, list[str]]
Template = Callable[[Random, Lists, str], str]


def generate(size: int = SIZE, seed: int = 0) -> list[str]:
    """`size` different queries, half of them short, in an order that mixes topics and languages."""
    random = Random(seed)
    words = read_words()
    queries: dict[str, None] = {}
    for language, share in LANGUAGES.items():
        for templates in (SHORT, LONG):
            wanted = len(queries) + round(size * share / 2)
            while len(queries) < wanted:
                queries[random.choice(templates)(random, words[language], language)] = None
    mixed = list(queries)
    random.shuffle(mixed)
    return mixed[:size]


def read_words() -> dict[str, Lists]:
    """The lists of each language by name; English has the `names` of the table of classes too."""
    held = json.loads(WORDS.read_text("utf-8"))
    words = {language: {kind: text.split(", ") for kind, text in lists.items()} for language, lists in held.items()}
    # Capitals stand in scientific names, which nobody types.
    words["en"]["names"] = [name for name in ClassTable.load().texts()[0] if name.islower()]
    return words


def _bare(phrase: str) -> str:
    """A phrase without its first word where that is an article."""
    first, _, rest = phrase.partition(" ")
    return rest if rest and first in ARTICLES else phrase


def _described(random: Random, lists: Lists) -> str:
    """A thing with an adjective before it, where the language has a list of them: without an article."""
    thing = _bare(random.choice(lists["things"]))
    return f"{random.choice(lists['adjectives'])} {thing}" if "adjectives" in lists else thing


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase.startswith(VOWELS) else 'a'} {phrase}"


def _named(random: Random, lists: Lists, language: str) -> str:
    """The name of a class, or of an animal or a thing, with or without an article."""
    if "names" in lists:
        return random.choice(lists["names"])
    name = random.choice(random.choice([lists["animals"], lists["things"]]))
    return random.choice([name, _bare(name)])


def _thing(random: Random, lists: Lists, language: str) -> str:
    described = _described(random, lists)
    return _with_article(described) if language == "en" and random.random() < 0.5 else described


def _who(random: Random, lists: Lists, language: str) -> str:
    return random.choice([*lists["people"], *lists["animals"]])


def _scene(random: Random, lists: Lists, language: str) -> str:
    scene = random.choice(lists["scenes"])
    return random.choice([scene, _bare(scene)])


def _where(random: Random, lists: Lists, language: str) -> str:
    what = random.choice(random.choice([lists["people"], lists["animals"], lists["things"]]))
    return f"{_bare(what)} {random.choice(lists['places'])}"


def _action(random: Random, lists: Lists, language: str) -> str:
    return f"{random.choice(lists['people'])} {random.choice(lists['actions'])}"


def _person_acts(random: Random, lists: Lists, language: str) -> str:
    place, time = random.choice(lists["places"]), random.choice(["", f" {random.choice(lists['times'])}"])
    return f"{_action(random, lists, language)} {place}{time}"


def _animal_acts(random: Random, lists: Lists, language: str) -> str:
    animal, doing = random.choice(lists["animals"]), random.choice(lists["doings"])
    return f"{animal} {doing} {random.choice(lists['places'])}"


def _two_things(random: Random, lists: Lists, language: str) -> str:
    first, second = random.sample([*lists["things"], *lists["animals"]], 2)
    return f"{first} {AND[language]} {second} {random.choice(lists['places'])}"


def _thing_somewhere(random: Random, lists: Lists, language: str) -> str:
    thing = _with_article(_described(random, lists)) if language == "en" else random.choice(lists["things"])
    return f"{thing} {random.choice(lists['places'])} {random.choice(lists['times'])}"


def _scene_with_person(random: Random, lists: Lists, language: str) -> str:
    person, place = random.choice(lists["people"]), random.choice(lists["places"])
    return f"{random.choice(lists['scenes'])} {AND[language]} {person} {place}"


SHORT: list[Template] = [_named, _named, _named, _thing, _who, _scene, _where, _action]
LONG: list[Template] = [_person_acts, _person_acts, _animal_acts, _two_things, _thing_somewhere, _scene_with_person]


def main() -> None:
    """Write the file, a query on each line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="text file to write")
    parser.add_argument("--size", type=int, default=SIZE, help="number of queries (2,000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with replacing(options.output) as path:
        path.write_text("".join(f"{query}\n" for query in generate(options.size, options.seed)), "utf-8")


if __name__ == "__main__":
    main()
