"""A test set of photos with known words: fonts, sizes, rotations, noise, JPEG, perspective, scripts.

    python benchmarks/written_words.py FOLDER --fonts /usr/share/fonts

Writes FOLDER/*.jpg and FOLDER/words.json: for each photo its `kind`, `size` (height of a capital letter, in thousandths
of the photo's longer side) and the lines that are written in it. The same files each time for the same fonts. On Debian
the fonts are those of fonts-dejavu-core, fonts-liberation, fonts-noto-core, fonts-noto-cjk and fonts-breip; kinds whose
font is not there are left out and named. Backgrounds are the demo's photos or plain paper.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

ROOT = Path(__file__).parents[1]
SIDE, LARGE = 2000, 4000  # pixels of the longer side; the large ones have 12 megapixels
LATIN = """budget invoice hardware receipt platform kitchen station morning garden library museum harbour ticket summer
bicycle coffee market bridge window engine number school doctor lesson winter forest island planet silver travel
village thunder pepper marble candle basket"""
SIZES = (2, 3, 4, 6, 8, 12, 24, 48, 96)  # thousandths of the longer side
SANS, SERIF, CJK = "NotoSans-Regular", "NotoSerif-Regular", "NotoSansCJK-Regular"


@dataclass(frozen=True)
class Kind:
    """How photos of a kind are made: of which words, in the first of the `fonts` that is there, and what is changed."""

    words: str
    fonts: tuple[str, ...] = (SANS, "DejaVuSans")
    size: int = 24
    turn: float = 0.0  # degrees
    changes: tuple[str, ...] = ()
    rtl: bool = False
    side: int = SIDE
    face: int = 0


def kinds() -> dict[str, Kind]:
    greek = "ΚΑΛΗΜΕΡΑ θάλασσα βιβλίο σχολείο αγορά νερό δρόμος ουρανός"
    cyrillic = "РЕСТОРАН музей библиотека вокзал аптека магазин улица площадь"
    arabic = "مطعم مدرسة مكتبة شارع مستشفى سوق مفتوح مغلق"
    chinese = "出口 入口 图书馆 火车站 医院 超市 安全 中国银行"
    japanese = "出口 駅前 図書館 ラーメン コーヒー おはよう 東京都 案内"
    korean = "출구 입구 도서관 병원 서울역 커피 안내 학교"
    accents = "Straße München déjà naïve señor Łódź Škoda smörgås"
    numbers = "2024 42 19.99 +49-30-1234 12:45 B52 IBAN3704 0815"
    many = {f"size {size}": Kind(LATIN, size=size, side=LARGE if size < 8 else SIDE) for size in SIZES}
    changed = {
        "serif": Kind(LATIN, (SERIF, "DejaVuSerif")),
        "bold": Kind(LATIN, ("NotoSans-Bold", "DejaVuSans-Bold")),
        "monospace": Kind(LATIN, ("LiberationMono-Regular", "DejaVuSansMono")),
        "light on dark": Kind(LATIN, changes=("dark",)),
        "on a photo": Kind(LATIN, changes=("photo",)),
        "noise": Kind(LATIN, changes=("noise",)),
        "blur": Kind(LATIN, changes=("blur",)),
        "JPEG 20": Kind(LATIN, changes=("jpeg",)),
        "perspective": Kind(LATIN, changes=("perspective",)),
        "curved": Kind(LATIN, changes=("curved",)),
        "turned 10°": Kind(LATIN, turn=10),
        "turned 30°": Kind(LATIN, turn=30),
        "turned 90°": Kind(LATIN, turn=90),
        "upside down": Kind(LATIN, turn=180),
        "mirrored": Kind(LATIN, changes=("mirror",)),
        "one letter below another": Kind(LATIN, changes=("stack",)),
        "handwriting-like": Kind(LATIN, ("Breip",), size=32),
        "numbers": Kind(numbers),
        "Latin with accents": Kind(accents),
        "Greek": Kind(greek),
        "Cyrillic": Kind(cyrillic),
        "Arabic": Kind(arabic, ("NotoNaskhArabic-Regular", "NotoSansArabic-Regular"), rtl=True),
        "Chinese": Kind(chinese, (CJK,), face=2),
        "Japanese": Kind(japanese, (CJK,), face=0),
        "Korean": Kind(korean, (CJK,), face=1),
        "Japanese, vertical": Kind(japanese, (CJK,), face=0, changes=("stack",)),
    }
    return {**many, **changed}


def make(folder: Path, fonts: Path, *, photos: int = 4) -> list[str]:
    """Write the photos and words.json; the kinds that were left out, for lack of a font."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.stem: path for path in sorted(fonts.rglob("*")) if path.suffix in (".ttf", ".otf", ".ttc")}
    rows, missing = [], []
    for name, kind in kinds().items():
        font = next((there[font] for font in kind.fonts if font in there), None)
        if font is None or (kind.rtl and not features.check("raqm")):
            missing.append(name)
            continue
        for number in range(photos):
            random = np.random.default_rng([number, *name.encode()])
            image, lines = _photo(kind, font, random)
            file = f"{name.replace(' ', '-').replace('°', '').replace(',', '')}-{number}.jpg"
            image.save(folder / file, quality=20 if "jpeg" in kind.changes else 88)
            rows.append({"file": file, "kind": name, "size": kind.size, "lines": lines})
    (folder / "words.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return missing


def _photo(kind: Kind, font_file: Path, random: np.random.Generator) -> tuple[Image.Image, list[str]]:
    """A photo of three lines of three words, and these lines."""
    width, depth = kind.side, kind.side * 3 // 4
    height = width * kind.size / 1000 / 0.72  # a capital has about 0.72 of a font's size
    font = ImageFont.truetype(str(font_file), round(height), index=kind.face)
    stacked = "stack" in kind.changes
    chosen = list(random.choice(kind.words.split(), 3 if stacked else 8, replace=False))
    words = [chosen] if stacked else [chosen[:3], chosen[3:6], chosen[6:]]
    lines = chosen if stacked else [" ".join(line) for line in words]
    ink, paper = ((250, 250, 240), (40, 60, 50)) if "dark" in kind.changes else ((30, 30, 40), (235, 232, 224))
    image = _background(random, width, depth) if "photo" in kind.changes else Image.new("RGB", (width, depth), paper)
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    drawn = ImageDraw.Draw(layer)
    if "photo" in kind.changes:
        ink = (255, 255, 255)
    for number, line in enumerate(lines):
        _write(drawn, line, number, font, (*ink, 255), stacked=stacked, many=len(lines), rtl=kind.rtl)
    if "curved" in kind.changes:
        layer = _curved(layer)
    if kind.turn:
        layer = layer.rotate(kind.turn, Image.Resampling.BICUBIC)
    if "perspective" in kind.changes:
        edge = width // 8
        corners = (0, -edge, 0, depth + edge, width + edge, depth, width + edge, 0)
        layer = layer.transform(image.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    image.paste(layer, (0, 0), layer)
    if "mirror" in kind.changes:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if "blur" in kind.changes:
        image = image.filter(ImageFilter.GaussianBlur(5))
    if "noise" in kind.changes:
        image = Image.fromarray(
            np.clip(np.asarray(image) + random.normal(0, 40, (depth, width, 3)), 0, 255).astype(np.uint8)
        )
    return image, lines


def _write(
    drawn: ImageDraw.ImageDraw,
    line: str,
    number: int,
    font: ImageFont.FreeTypeFont,
    ink: tuple[int, ...],
    *,
    stacked: bool,
    many: int,
    rtl: bool,
) -> None:
    width, depth = drawn.im.size
    if stacked:
        step = font.size * 1.1
        for place, letter in enumerate(line):
            left = width * (number + 1) / (many + 1) - font.getlength(letter) / 2
            drawn.text((left, depth / 2 + step * (place - len(line) / 2)), letter, ink, font)
        return
    while font.getlength(line) > width * 0.95:
        font = font.font_variant(size=round(font.size * 0.9))
    top = depth / 2 + font.size * 1.8 * (number - many / 2)
    drawn.text(((width - font.getlength(line)) / 2, top), line, ink, font, direction="rtl" if rtl else None)


def _background(random: np.random.Generator, width: int, depth: int) -> Image.Image:
    files = sorted((ROOT / "artifacts" / "demo" / "photos").glob("*.jpg"))
    with Image.open(files[int(random.integers(len(files)))]) as image:
        return image.convert("RGB").resize((width, depth), Image.Resampling.BICUBIC).point(lambda tone: tone // 2)


def _curved(layer: Image.Image) -> Image.Image:
    pixels = np.asarray(layer)
    depth, width = pixels.shape[:2]
    shift = (np.sin(np.linspace(0, np.pi, width)) * depth * 0.08).astype(int)
    rows = (np.arange(depth)[:, None] + shift[None]) % depth
    return Image.fromarray(pixels[rows, np.arange(width)[None]])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--photos", type=int, default=4, help="of each kind")
    given = parser.parse_args(arguments)
    missing = make(given.folder, given.fonts, photos=given.photos)
    print(f"{given.folder}: written" + (f"; left out for lack of a font: {', '.join(missing)}" if missing else ""))


if __name__ == "__main__":
    main()
