"""What a photo may be seen as: ImageNet's classes in a classifier's order, and their kinds with all names."""

import numpy as np
from shan_model.classes.table import ClassTable

TABLE = ClassTable.load()


def covered(name):
    """How many classes each node of this name covers."""
    return [len(node.classes) for node in TABLE.nodes if name in node.names + node.plurals]


def test_the_first_thousand_nodes_are_the_classes():
    assert [node.classes for node in TABLE.nodes[:1000]] == [[number] for number in range(1000)]
    assert len(TABLE.leaves) == len(TABLE.class_names) == 1000
    assert [TABLE.class_names[number] for number in (0, 388, 587, 999)] == [
        "tench",
        "giant panda",
        "hammer",
        "toilet tissue",
    ]


def test_a_proboscis_monkey_is_a_monkey_a_primate_and_an_animal():
    number = TABLE.class_names.index("proboscis monkey")
    kinds = {name for node in TABLE.nodes if number in node.classes for name in node.names}
    assert {"monkey", "Old World monkey", "primate", "mammal", "animal"} <= kinds
    assert not {"entity", "object", "ape"} & kinds
    assert covered("monkeys") == covered("monkey") == [13]
    assert covered("dog") == [118]


def test_members_and_texts_agree_with_the_nodes():
    members = TABLE.members()
    assert members.shape == (len(TABLE.nodes), 1000)
    assert members[:1000].sum() == 1000
    assert np.array_equal(members.sum(1), [len(node.classes) for node in TABLE.nodes])
    texts, numbers = TABLE.texts()
    assert all(text in (*TABLE.nodes[n].names, *TABLE.nodes[n].plurals) for text, n in zip(texts, numbers, strict=True))
    assert [TABLE.nodes[n].names[0] for text, n in zip(texts, numbers, strict=True) if text == "rooster"] == ["cock"]
    assert set(TABLE.texts(plurals=False)[0]) < set(texts)
