"""The generated querybank: many topics, half of its queries short, the same for the same seed."""

from __future__ import annotations

import numpy as np
from shan_export.querybank import LANGUAGES, generate, read_words
from shan_model.classes.table import ClassTable


def test_queries_differ_and_a_seed_gives_the_same_ones_again() -> None:
    queries = generate(600, seed=1)
    assert len(set(queries)) == 600
    assert queries == generate(600, seed=1)
    assert len(set(queries) & set(generate(600, seed=2))) < 200


def test_half_of_the_queries_are_short() -> None:
    lengths = np.array([len(query.split()) for query in generate(1000)])
    assert 0.4 < (lengths <= 4).mean() < 0.6
    assert np.median(lengths[lengths > 4]) >= 7


def test_queries_name_many_of_the_classes_and_no_scientific_names() -> None:
    names = set(ClassTable.load().texts()[0])
    single = [query for query in generate() if query in names]
    assert len(single) > 200
    assert not any(name.split()[0].istitle() and name.split()[-1].islower() for name in single)


def test_each_language_has_its_share() -> None:
    queries = generate(1000)
    for language, words in read_words().items():
        own = sum(any(query.endswith(end) for end in (*words["places"], *words["times"])) for query in queries)
        assert own >= LANGUAGES[language] * 1000 / 4
