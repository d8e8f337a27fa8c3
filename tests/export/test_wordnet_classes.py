"""The table of classes comes from WordNet's own files."""

import pytest
from shan_export.wordnet_classes import Synset, all_hypernyms, nodes, plural, read_synsets

DATA = """\
  1 This software and database is being provided to you, the LICENSEE, by
02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 002 @ 02083346 n 0000 ~ 01322604 n 0000 | a member of the genus
02083346 05 n 02 canine 1 canid 0 001 @ 00001740 n 0000 | any of various fissiped mammals
00001740 03 n 01 entity 0 001 ~ 02083346 n 0000 | that which is perceived to exist
02083672 05 n 02 Canis 0 genus_Canis 0 001 @ 00001740 n 0000 | type genus of the Canidae
""".splitlines()


def test_synsets_have_names_and_hypernyms():
    synsets = read_synsets(DATA)
    assert synsets["n02084071"] == Synset(["dog", "domestic dog", "Canis familiaris"], ["n02083346"])
    assert list(all_hypernyms("n02084071", synsets)) == ["n02083346", "n00001740"]


def test_nodes_are_the_classes_then_their_kinds_without_abstract_ones(monkeypatch):
    monkeypatch.setattr("shan_export.wordnet_classes.EVERYDAY", {"dog": ["puppy"]})
    assert nodes(["n02084071"], read_synsets(DATA), {}) == [
        {
            "id": "n02084071",
            "names": ["dog", "domestic dog", "Canis familiaris", "puppy"],
            "plurals": ["dogs", "domestic dogs", "puppies"],
            "classes": [0],
        },
        {"id": "n02083346", "names": ["canine", "canid"], "plurals": ["canines", "canids"], "classes": [0]},
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tree frog", "tree frogs"),
        ("wolf", "wolves"),
        ("torch", "torches"),
        ("puppy", "puppies"),
        ("monkey", "monkeys"),
        ("monarch", "monarchs"),
        ("acorn", "acorns"),
        ("frogman", "frogmen"),
        ("Doberman", "Dobermans"),
        ("sunglasses", None),
        ("mountain sheep", None),
        ("place of worship", None),
        ("Canis lupus", None),
    ],
)
def test_plurals(name, expected):
    assert plural(name, {"wolf": "wolves"}, {"Canis"}) == expected
