"""Photos of every kind become upright RGB; what cannot be decoded is named."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from shan_engine.base.errors import InputError
from shan_engine.photos import decode as photos
from shan_engine.photos.decode import decode_photo, read_parts, read_scaled, resize

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def near(pixel: object, wanted: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.abs(np.asarray(pixel, np.int32) - wanted).max() <= tolerance)


@pytest.mark.parametrize(
    ("orientation", "size", "red_corner"),
    [(1, (64, 32), (4, 4)), (3, (64, 32), (60, 28)), (6, (32, 64), (28, 4)), (8, (32, 64), (4, 60))],
)
def test_exif_rotation(tmp_path: Path, orientation: int, size: tuple[int, int], red_corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (64, 32), GREEN)
    image.paste(RED, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    photo = decode_photo(tmp_path / "a.jpg")
    assert photo.size == size
    assert near(photo.getpixel(red_corner), RED)
    assert near(photo.getpixel((size[0] // 2, size[1] // 2)), GREEN)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    photo = decode_photo(tmp_path / "a.jpg")
    assert photo.mode == "RGB"
    assert near(photo.getpixel((8, 8)), RED)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_greyscale(tmp_path: Path, name: str) -> None:
    Image.new("L", (16, 16), 120).save(tmp_path / name)
    assert near(decode_photo(tmp_path / name).getpixel((8, 8)), (120, 120, 120), 2)


def test_16_bit_png_keeps_its_tones(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    photo = np.asarray(decode_photo(tmp_path / "a.png"))
    assert photo.shape == (4, 256, 3)
    assert np.abs(photo[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_palette_with_transparency_is_put_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([0, 0, 0, *RED])
    image.paste(1, (8, 0, 16, 16))
    image.save(tmp_path / "a.png", transparency=0)
    photo = decode_photo(tmp_path / "a.png")
    assert photo.getpixel((2, 2)) == WHITE
    assert photo.getpixel((12, 2)) == RED


@pytest.mark.parametrize(("mode", "clear"), [("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))])
def test_alpha_is_put_on_white(tmp_path: Path, mode: str, clear: tuple[int, ...]) -> None:
    Image.new(mode, (8, 8), clear).save(tmp_path / "a.png")
    assert decode_photo(tmp_path / "a.png").getpixel((2, 2)) == WHITE


def test_webp(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), RED).save(tmp_path / "a.webp", lossless=True)
    assert decode_photo(tmp_path / "a.webp").getpixel((2, 2)) == RED


@pytest.mark.parametrize(("mode", "colour"), [("RGB", RED), ("CMYK", (0, 255, 255, 0))])
def test_tiff(tmp_path: Path, mode: str, colour: tuple[int, ...]) -> None:
    Image.new(mode, (16, 16), colour).save(tmp_path / "a.tiff", compression="tiff_lzw")
    assert decode_photo(tmp_path / "a.tiff").getpixel((2, 2)) == RED


def test_a_turned_tiff_is_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), RED)
    image.paste((0, 0, 255), (0, 0, 20, 20))
    image.save(tmp_path / "a.tif", tiffinfo={ExifTags.Base.Orientation: 6})
    scaled = read_scaled(tmp_path / "a.tif", 10, 20)
    assert scaled.size == (20, 40)
    assert tuple(scaled.pixels[2, 5]) == (0, 0, 255)
    assert tuple(scaled.pixels[17, 5]) == RED


@pytest.mark.parametrize("kind", ["empty", "text", "cut.jpg", "cut.png", "cut.webp"])
def test_a_broken_file_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / (kind if "." in kind else "broken.jpg")
    data = b"" if kind == "empty" else b"not a photo at all"
    if kind.startswith("cut"):
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        data = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{path.name} (cannot be decoded|is damaged)"):
        decode_photo(path, strict=True)


def claim_size(path: Path, width: int, height: int) -> None:
    """Change the size in the header of a PNG or baseline JPEG file."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    path.write_bytes(data)


@pytest.mark.parametrize("size", [(20_000, 15_001), (65_000, 60_000)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_more_than_300_megapixels_are_refused_by_the_header(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    Image.new("L", (40, 40)).save(tmp_path / name)
    claim_size(tmp_path / name, *size)
    for read in (decode_photo, lambda path: read_scaled(path, 10, 10)):
        with pytest.raises(InputError, match=rf"{name} .*more than 300 megapixels: replace it with a smaller copy"):
            read(tmp_path / name)


def test_a_scan_of_108_megapixels_is_read(tmp_path: Path) -> None:
    scan = Image.new("L", (12_000, 9_000), 255)
    scan.paste(0, (0, 0, 6_000, 9_000))
    scan.save(tmp_path / "scan.jpg")
    photo = read_scaled(tmp_path / "scan.jpg", 20, 10)
    assert photo.size == (12_000, 9_000)
    assert photo.pixels[:, :9].max() < 5
    assert photo.pixels[:, 11:].min() > 250


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(
    tmp_path: Path, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    image = Image.fromarray(coarse).resize((1600, 1200), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=92)
    decoded = []
    monkeypatch.setattr(photos, "resize", lambda image, *size: decoded.append(image.size) or resize(image, *size))
    whole = decode_photo(tmp_path / "a.jpg")
    for side, scale in ((32, 8), (70, 4), (150, 2), (151, 1), (200, 1)):
        photo = read_scaled(tmp_path / "a.jpg", side, side - 1)
        assert photo.size == whole.size == ((1600, 1200) if orientation == 1 else (1200, 1600))
        assert decoded[-1] == (whole.width // scale, whole.height // scale)
        assert min(decoded[-1]) >= 4 * side
        difference = np.abs(photo.pixels.astype(int) - resize(whole, side, side - 1)).max()
        assert difference <= (0 if scale == 1 else 3)


def test_several_parts_of_a_photo_are_what_each_is_alone(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (120, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    parts = [(0.0, 0.0, 1.0, 1.0), (0.25, 0.5, 0.75, 1.0)]
    for part, found in zip(parts, read_parts(tmp_path / "a.png", 16, 12, parts), strict=True):
        alone = read_scaled(tmp_path / "a.png", 16, 12, part)
        assert found.part == part
        assert found.size == alone.size == (90, 120)
        np.testing.assert_array_equal(found.pixels, alone.pixels)


def with_exif(path: Path) -> tuple[bytes, range]:
    """A JPEG turned by 90 degrees with the usual kinds of EXIF values, and where those are in it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "Maker", 72.0
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x829A: 0.01}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    Image.new("RGB", (64, 32), RED).save(path, exif=exif)
    data = path.read_bytes()
    return data, range(data.index(b"Exif\0\0") + 6, data.index(b"\xff\xdb"))


def damaged(data: bytes, places: range, random: np.random.Generator) -> bytes:
    """The data with one to six bytes of some places changed."""
    changed = bytearray(data)
    for place in random.choice(places, random.integers(1, 7)):
        changed[place] = random.choice([0, 1, 2, 3, 4, 5, 7, 10, 12, 13, 255, random.integers(256)])
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
def test_broken_exif_costs_no_photo(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    data, places = with_exif(path)
    random = np.random.default_rng(0)
    raised, sizes = set(), set()
    for _ in range(600):
        path.write_bytes(damaged(data, places, random))
        try:
            with Image.open(path) as image:
                ImageOps.exif_transpose(image)
        except Exception as error:
            raised.add(type(error))
        photo = decode_photo(path)
        sizes.add(photo.size)
        assert near(photo.getpixel((10, 10)), RED)
    assert {TypeError, AttributeError, struct.error} <= raised  # so the damage is of the kind meant
    assert sizes == {(64, 32), (32, 64)}


def test_unreadable_exif_leaves_the_photo_unrotated(tmp_path: Path) -> None:
    data, places = with_exif(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(data[: places.start] + b"\x00" * len(places) + data[places.stop :])
    assert decode_photo(tmp_path / "a.jpg").size == (64, 32)
    assert read_scaled(tmp_path / "a.jpg", 8, 8).size == (64, 32)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "ICO"])
def test_any_damage_is_one_sentence(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(1)
    path = tmp_path / "a.jpg"
    Image.fromarray(random.integers(0, 255, (24, 24, 3), np.uint8)).save(path, kind)
    data = path.read_bytes()
    refusals = []
    for _ in range(300):
        path.write_bytes(damaged(data, range(min(len(data), 200)), random))
        try:
            assert decode_photo(path).mode == "RGB"
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all(sentence.startswith(str(path)) and "\n" not in sentence for sentence in refusals)


def test_a_photo_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jpg cannot be decoded: it was deleted or moved during the run"):
        decode_photo(tmp_path / "a.jpg")


def test_pillow_says_nothing_of_its_own(tmp_path: Path) -> None:
    data, places = with_exif(tmp_path / "cut.jpg")
    # A camera's name that is said to lie beyond the end: Pillow warns of corrupt EXIF data.
    place = data.index(b"Maker\0") - places.start
    cut = data.replace(struct.pack(">HHII", 0x010F, 2, 6, place), struct.pack(">HHII", 0x010F, 2, 6, 9999))
    assert cut != data
    (tmp_path / "cut.jpg").write_bytes(cut)
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    claim_size(tmp_path / "large.png", 20_000, 20_000)
    code = (
        "import sys\nfrom pathlib import Path\nfrom shan_engine.base.errors import InputError\n"
        "from shan_engine.photos.decode import decode_photo\n"
        "for name in sys.argv[1:]:\n    try: print(decode_photo(Path(name)).size)\n"
        "    except InputError: print('refused')\n"
    )
    names = [str(tmp_path / name) for name in ("cut.jpg", "large.png")]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(64, 32)\nrefused\n", "")


UNREAD_ONES = ("a/g.HEIC", "h.heic", "i.dng", ".hidden/j.heic", ".k.heic")


def test_resize_stretches() -> None:
    pixels = resize(Image.new("RGB", (64, 32), RED), 10, 20)
    assert pixels.shape == (20, 10, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == RED).all()
