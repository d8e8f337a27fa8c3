"""Rebuild `imagenet_classes.json`: ImageNet's 1,000 classes and what they are kinds of, with all their names.

The classes, in the order of a classifier's outputs: `imagenet_synsets.txt` of the package `timm` (folder
`timm/data/_info`, Apache-2.0). Names and hypernyms: `data.noun` and `noun.exc` of WordNet 3.0 (Princeton University;
Debian's package `wordnet-base`, folder `/usr/share/wordnet`).

    python -m shan_export.wordnet_classes --synsets timm/data/_info/imagenet_synsets.txt --wordnet /usr/share/wordnet
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing
from shan_model.classes.table import TABLE

# Hypernyms that nobody would ask to see, by their first name.
ABSTRACT = frozenset(
    """
entity, physical entity, object, whole, artifact, instrumentality, natural object, matter, substance, solid, fluid,
material, commodity, consumer goods, durables, article, ware, product, creation, work, part, piece, covering, device,
mechanism, mechanical device, rotating mechanism, implement, system, support, supporting structure, structural member,
framework, control, attachment, connection, causal agent, agent, abstraction, relation, attribute, measure,
communication, medium, location, point, geographic point, area, surface, horizontal surface, participant, associate,
peer, contestant, obstruction, restraint, establishment, place of business, reproductive structure, plant organ,
plant part, apparatus, accessory, course, fare
""".replace("\n", " ")
    .strip()
    .split(", ")
)

# What people call a class beside its names in WordNet, by its first name there.
EVERYDAY = {
    "cock": ["rooster", "chicken"],
    "hen": ["chicken"],
    "drake": ["mallard"],
    "ox": ["cow", "bull"],
    "ram": ["sheep"],
    "wood rabbit": ["bunny"],
    "Angora": ["bunny"],
    "anemone fish": ["clownfish"],
    "agaric": ["toadstool"],
    "airliner": ["passenger plane", "jet"],
    "warplane": ["fighter jet"],
    "airship": ["blimp", "zeppelin"],
    "balloon": ["hot-air balloon"],
    "ashcan": ["rubbish bin", "garbage bin"],
    "Band Aid": ["sticking plaster"],
    "bookcase": ["bookshelf"],
    "bow": ["bow and arrow"],
    "bubble": ["soap bubble"],
    "bullet train": ["high-speed train"],
    "steam locomotive": ["steam train", "train"],
    "electric locomotive": ["train"],
    "passenger car": ["railway carriage", "train"],
    "freight car": ["freight train"],
    "carbonara": ["spaghetti", "pasta"],
    "castle": ["fortress"],
    "cellular telephone": ["cell phone", "smartphone"],
    "cheeseburger": ["burger"],
    "cliff": ["rock face"],
    "corn": ["corncob", "maize"],
    "desktop computer": ["PC"],
    "dock": ["harbour", "harbor", "marina"],
    "espresso maker": ["coffee machine"],
    "cup": ["teacup"],
    "fire engine": ["firetruck"],
    "French loaf": ["baguette"],
    "Granny Smith": ["green apple"],
    "groom": ["wedding", "bride"],
    "hand blower": ["hairdryer"],
    "hard disc": ["hard drive"],
    "hay": ["haystack", "hay bale", "straw"],
    "honeycomb": ["beehive"],
    "apiary": ["beehive"],
    "jack-o'-lantern": ["pumpkin", "Halloween pumpkin"],
    "jeep": ["off-road vehicle"],
    "lakeside": ["lake"],
    "liner": ["cruise ship"],
    "mailbox": ["postbox"],
    "megalith": ["standing stones"],
    "mobile home": ["caravan"],
    "recreational vehicle": ["camper", "motorhome"],
    "monitor": ["computer screen"],
    "pay-phone": ["phone booth"],
    "plate": ["meal", "dish of food"],
    "police van": ["police car"],
    "potpie": ["pie"],
    "purse": ["handbag"],
    "quilt": ["duvet", "blanket"],
    "racket": ["tennis racket"],
    "rapeseed": ["rape field", "canola"],
    "refrigerator": ["fridge"],
    "revolver": ["handgun"],
    "running shoe": ["sneaker", "trainer"],
    "seashore": ["beach"],
    "sandbar": ["beach"],
    "soccer ball": ["football"],
    "spider web": ["cobweb"],
    "stage": ["concert"],
    "stone wall": ["wall"],
    "street sign": ["road sign", "traffic sign"],
    "stupa": ["pagoda", "Buddhist temple"],
    "studio couch": ["sofa bed"],
    "sweatshirt": ["hoodie"],
    "syringe": ["needle"],
    "television": ["TV", "TV set"],
    "toilet seat": ["toilet"],
    "trailer truck": ["lorry"],
    "moving van": ["lorry"],
    "umbrella": ["parasol"],
    "washbasin": ["sink"],
    "web site": ["screenshot"],
}

# Last words of names that have no plural, or are one already.
NO_PLURAL = re.compile(
    r"(wear|ware|craft|clothing|furniture|equipment|linen|fish|sheep|deer|bison|salmon|grouse|swine|food|bread|broccoli"
    r"|cattle|poultry|hay|paper|tissue|armou?r|jewell?ery|makeup|transport|machinery|mail|wool|velvet|denim|(?<!a)corn|dough"
    r"|wine|espresso|coral|pasta|spaghetti|straw|maize|canola|ese|hymenoptera|[^suiaoy]s|des|oes|es)$"
)
# Plurals in `noun.exc` that few people write.
RARE = re.compile("(ae|busses|taxies|banditti|ches)$")


@dataclass(frozen=True)
class Synset:
    """A set of synonyms in WordNet, and the ids of the synsets that it is a kind or an instance of."""

    names: list[str]
    hypernyms: list[str]


def read_synsets(lines: Iterable[str]) -> dict[str, Synset]:
    """The synsets in `data.noun`, by ids such as "n02084071"; the format is that of the manual page wndb(5)."""
    synsets = {}
    for line in lines:
        if line.startswith("  "):  # the licence
            continue
        fields = line.split(" ")
        end = 4 + 2 * int(fields[3], 16)
        pointers = [fields[start : start + 4] for start in range(end + 1, end + 1 + 4 * int(fields[end]), 4)]
        hypernyms = [f"n{offset}" for kind, offset, *_ in pointers if kind in ("@", "@i")]
        synsets[f"n{fields[0]}"] = Synset([name.replace("_", " ") for name in fields[4:end:2]], hypernyms)
    return synsets


def all_hypernyms(id: str, synsets: Mapping[str, Synset]) -> dict[str, None]:
    """The ids of everything that a synset is a kind of, nearest first."""
    found: dict[str, None] = {}
    waiting = list(synsets[id].hypernyms)
    for above in waiting:
        if above not in found:
            found[above] = None
            waiting.extend(synsets[above].hypernyms)
    return found


def plural(name: str, irregular: Mapping[str, str], genera: Container[str]) -> str | None:
    """The plural of an English name; None where it has none, and for scientific names such as "Canis lupus"."""
    *first, last = name.split(" ")
    scientific = first and first[0] in genera and last.islower()
    if scientific or {"of", "des"} & set(first) or "-of-" in name or NO_PLURAL.search(last):
        return None
    return " ".join([*first, irregular.get(last) or regular_plural(last)])


def regular_plural(word: str) -> str:
    """A word's plural by the rules of English spelling."""
    if re.search("[a-z]man$", word) and word.islower():
        return word[:-2] + "en"
    if re.search("([sxz]|[cs]h)$", word) and not word.endswith("monarch"):
        return word + "es"
    return word[:-1] + "ies" if re.search("[^aeiou]y$", word) else word + "s"


def nodes(
    classes: Sequence[str], synsets: Mapping[str, Synset], irregular: Mapping[str, str]
) -> list[dict[str, str | list[str] | list[int]]]:
    """The nodes of the table: each class in order, then everything that they are kinds of.

    Raises InputError if EVERYDAY names anything but one class.
    """
    members: dict[str, list[int]] = {id: [number] for number, id in enumerate(classes)}
    for number, id in enumerate(classes):
        for above in all_hypernyms(id, synsets):
            if synsets[above].names[0] not in ABSTRACT:
                members.setdefault(above, []).append(number)
    genera = {
        name.removeprefix("genus ") for synset in synsets.values() for name in synset.names if name[:6] == "genus "
    }
    first_names = [synsets[id].names[0] for id in classes]
    unknown = [name for name in EVERYDAY if first_names.count(name) != 1]
    if unknown:
        raise InputError(f"EVERYDAY names {unknown}, each of which is not exactly one class: correct it")
    table: list[dict[str, str | list[str] | list[int]]] = []
    for id, numbers in members.items():
        names = list(synsets[id].names)
        if id == classes[numbers[0]]:
            names += [name for name in EVERYDAY.get(names[0], []) if name not in names]
        plurals = [more for name in names if (more := plural(name, irregular, genera)) and more not in names]
        table.append({"id": id, "names": names, "plurals": list(dict.fromkeys(plurals)), "classes": numbers})
    return table


def main() -> None:
    """Rewrite the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synsets", type=Path, required=True, help="timm's imagenet_synsets.txt")
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with data.noun and noun.exc")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    with (options.wordnet / "data.noun").open(encoding="ascii") as lines:
        synsets = read_synsets(lines)
    pairs = [line.split() for line in (options.wordnet / "noun.exc").read_text().splitlines()]
    irregular = {single: more for more, single, *_ in reversed(pairs) if not RARE.search(more)}
    made = nodes(options.synsets.read_text().split(), synsets, irregular)
    with replacing(options.output) as path:
        path.write_text("[\n" + ",\n".join(json.dumps(node, separators=(",", ":")) for node in made) + "\n]\n")


if __name__ == "__main__":
    main()
