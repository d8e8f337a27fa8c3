"""Photos with something written in them, made of a seed: receipts, signs, buses, slides, whiteboards, book covers.

The words of `learn` and `judge` differ, so that weights learnt on one are judged on the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from shan_engine.base.text_lines import TextLine

SIDE = 480
COLOURS = {"receipt": ("#f4f1ea", "#222"), "board": ("#fbfbfb", "#1c3f94"), "slide": ("#14213d", "#fff")}
MISREAD = {"o": "0", "l": "1", "i": "l", "s": "5", "b": "8", "O": "0", "I": "l", "0": "O", "1": "l"}
WORDS = {
    "learn": {
        "shops": ["Harlow Hardware", "Bluebird Bakery", "Nordic Pharmacy", "Casa Verde Market", "Quill Stationery"],
        "topics": ["roadmap", "quarterly targets", "recruitment plan", "risk register", "onboarding checklist"],
        "signs": ["Elmwood Avenue", "Kingsford Station", "Pier Nine", "Exit", "Wet Paint", "Mind the gap"],
        "titles": ["The Silent Orchard", "Modern Cryptography", "Letters to Anselm", "Bread Without Kneading"],
        "numbers": ["17", "305", "88", "1999"],
        "plain": [
            "OWL",
            "The Crab Shack",
            "koala",
            "BEE KIND",
            "Penguin Books",
            "Squirrel Road",
            "parrot",
            "pillow",
            "screwdriver",
            "bucket list",
            "Tea Cup Cafe",
            "Eiffel",
            "fish and chips",
            "monkey bar",
            "orange",
            "windmill",
            "CASTLE",
            "statue",
            "Temple Bar",
            "bridge",
            "Brick Lane",
            "white",
            "snow",
            "insect",
            "farm",
            "sports",
            "paint",
            "water",
            "rock",
            "DOG",
        ],
    },
    "judge": {
        "shops": ["Oakridge Tools", "Sunrise Grocers", "Velvet Florist", "Pixel Repair", "Halloran Books"],
        "topics": ["budget 2024", "sales forecast", "user interviews", "release checklist", "training syllabus"],
        "signs": ["Maple Street", "Grafton Junction", "Gate 14", "No Entry", "Beware of bees", "Platform 3"],
        "titles": ["The Glass Harbour", "Applied Thermodynamics", "Dinner for Twelve", "A History of Salt"],
        "numbers": ["42", "208", "73", "1987"],
        "plain": [
            "CAT",
            "windmill",
            "White Duck Inn",
            "pyramid",
            "Panda Express",
            "The Sheep Heid",
            "dog grass care",
            "Red Cow",
            "HORSES",
            "pig",
            "chickens",
            "POLAR BEAR",
            "giraffe",
            "Camels",
            "Lemur",
            "orange",
            "SOLAR PANEL CO",
            "DAM",
            "Eiffel Tower",
            "castle",
            "statue",
            "Baseball",
            "chair",
            "wrench",
            "hedgehog",
            "DOLPHIN",
            "bat",
            "goat",
            "Light Bulb",
            "church",
        ],
    },
}


@dataclass(frozen=True)
class WrittenPhoto:
    """A photo to be made: its file, its lines, and queries for which it is right."""

    name: str
    kind: str
    texts: tuple[str, ...]
    queries: tuple[str, ...]


def photos_of(part: str) -> Iterator[WrittenPhoto]:
    """The photos of a part of the set, `learn` or `judge`."""
    words = WORDS[part]
    for number, shop in enumerate(words["shops"]):
        first = shop.split()[-1].lower()
        texts = (shop.upper(), "TOTAL 12.50", f"CARD **** 42{number:02}", "THANK YOU")
        yield WrittenPhoto(f"{part}-receipt{number}.jpg", "receipt", texts, (f"receipt {shop.lower()}", first))
    for number, topic in enumerate(words["topics"]):
        told = (f"the whiteboard with the {topic}", f'"{topic}"')
        yield WrittenPhoto(f"{part}-board{number}.jpg", "board", (topic, "owner? deadline?"), told)
        mixed = " ".join(reversed(topic.split()))
        yield WrittenPhoto(f"{part}-slide{number}.jpg", "slide", (f"On {mixed} and more", "page 7"), ())
    for number, sign in enumerate(words["signs"]):
        yield WrittenPhoto(f"{part}-sign{number}.jpg", "sign", (sign,), (f"a sign that says {sign.lower()}", sign))
    for number, title in enumerate(words["titles"]):
        short = title.split()[-1].lower()
        about = (title, f"a book about {short}", short[:5] + "*")
        yield WrittenPhoto(f"{part}-book{number}.jpg", "book", (*title.split(" ", 1), "a novel"), about)
    for number, digits in enumerate(words["numbers"]):
        told = (f"the bus with {digits}", digits)
        yield WrittenPhoto(f"{part}-bus{number}.jpg", "bus", (f"{digits} Central",), told)
    for number, text in enumerate(words["plain"]):  # what plain queries must not fall for
        yield WrittenPhoto(f"{part}-plain{number}.jpg", "sign", (text.strip(),), ())


def draw(photo: WrittenPhoto, folder: Path, random: np.random.Generator) -> tuple[TextLine, ...]:
    """Write a photo, and return its lines as a reader might read them: some letters taken for others."""
    back, ink = COLOURS.get(photo.kind, (_colour(20, 110, random), "#ffe"))
    image = Image.new("RGB", (SIDE, SIDE * 3 // 4), _colour(90, 200, random))
    pen, lines = ImageDraw.Draw(image), []
    left, top = random.integers(20, 60, 2).tolist()
    size = 22 if photo.kind == "receipt" else int(random.integers(30, 48))
    font = ImageFont.load_default(size)
    pen.rectangle((left, top, SIDE - 40, top + 30 + len(photo.texts) * size * 3 // 2), fill=back)
    for row, text in enumerate(photo.texts):
        at = (left + 15, top + 15 + row * size * 3 // 2)
        pen.text(at, text, fill=ink, font=font)
        box = tuple(float(side) for side in pen.textbbox(at, text, font=font))
        lines.append(TextLine(_read(text, random), round(float(random.uniform(0.8, 1)), 3), box))  # type: ignore[arg-type]
    image.filter(ImageFilter.GaussianBlur(0.6)).save(folder / photo.name, quality=85)
    return tuple(lines)


def _colour(least: int, most: int, random: np.random.Generator) -> str:
    red, green, blue = random.integers(least, most, 3).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _read(text: str, random: np.random.Generator) -> str:
    return "".join(MISREAD.get(one, one) if random.random() < 0.03 else one for one in text)
