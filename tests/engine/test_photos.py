"""Photos of every kind become upright RGB; what cannot be decoded is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shan_engine.errors import InputError
from shan_engine.photos import decode_photo, find_photos, resize

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


@pytest.mark.parametrize("kind", ["empty", "text", "cut.jpg", "cut.png", "cut.webp"])
def test_a_broken_file_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / (kind if "." in kind else "broken.jpg")
    data = b"" if kind == "empty" else b"not a photo at all"
    if kind.startswith("cut"):
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        data = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{path.name} cannot be decoded"):
        decode_photo(path)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    for limit in (1000, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InputError, match=r"a\.png cannot be decoded"):
            decode_photo(tmp_path / "a.png")


def test_find_photos(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.webp", "a.png", ".hidden/d.jpg", "a/.e.jpg", "notes.txt", "f.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    photos = find_photos(tmp_path)
    assert [photo.id for photo in photos] == ["a.png", "a/c.webp", "b.JPG", "f.jpeg"]
    assert photos[1].path == (tmp_path / "a/c.webp").resolve()
    (tmp_path / "a.png").write_bytes(b"xy")
    changed = find_photos(tmp_path)
    assert [one.stamp != two.stamp for one, two in zip(photos, changed, strict=True)] == [True, *[False] * 3]


def test_no_photos(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="no photos in"):
        find_photos(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        find_photos(tmp_path / "missing")


def test_resize_stretches() -> None:
    pixels = resize(Image.new("RGB", (64, 32), RED), 10, 20)
    assert pixels.shape == (20, 10, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == RED).all()
