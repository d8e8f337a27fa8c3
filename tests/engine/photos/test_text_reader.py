"""What the packaged graphs read, through the decoder that `extract` has. They come with the extra `ocr`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageFont
from shan_engine.base.errors import InputError
from shan_engine.photos import dense_text, text_reader
from writing import written

pytest.importorskip("rapidocr")
Read = Callable[..., list[str]]


@pytest.fixture(scope="module")
def reader():
    from shan_engine.photos.text_reader import TextReader

    return TextReader()


@pytest.fixture
def texts(reader, tmp_path) -> Read:
    """The texts that are read in a photo."""

    def read(image: Image.Image, name: str = "a.png", **options: object) -> list[str]:
        image.save(tmp_path / name, **options)
        return [line.text for line in reader(tmp_path / name).lines]

    return read


def test_lines_with_boxes_in_pixels_of_the_upright_photo(reader, tmp_path):
    sideways = written("Budget 2024", "receipt hardware store").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the camera lay on its side: turn it clockwise
    sideways.save(tmp_path / "a.jpg", exif=exif, quality=95)
    first, second = reader(tmp_path / "a.jpg").lines
    assert (first.text, second.text) == ("Budget 2024", "receipt hardware store")
    assert min(first.confidence, second.confidence) > 0.9
    np.testing.assert_allclose(first.box, (30, 38, 275, 75), atol=12)
    assert second.box[1] > first.box[3]


def test_small_print_of_a_large_photo(texts):
    text = ["Terms and conditions apply"]
    assert texts(written(*text, size=(3200, 2400), height=26)) == text


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.rotate(90, expand=True),
        lambda image: image.rotate(180),
        lambda image: image.rotate(12, expand=True, fillcolor=(240, 236, 226)),
        lambda image: image.convert("L"),
        lambda image: image.point(lambda tone: 255 - tone),
    ],
)
def test_turned_grey_and_light_on_dark(texts, change):
    assert texts(change(written("Platform 12", height=48))) == ["Platform 12"]


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (4000, 2), (33, 31)])
def test_nothing_is_written_in_odd_shapes(texts, size):
    assert texts(Image.new("RGB", size, (200, 30, 30))) == []


def test_a_photo_that_is_cut_off_is_read_as_far_as_it_goes(reader, tmp_path):
    buffer = io.BytesIO()
    written("Museum garden", *["other words"] * 5).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[: buffer.tell() * 6 // 10])
    found = reader(tmp_path / "a.jpg")
    assert found.lines[0].text == "Museum garden"
    assert "is damaged: it ends early" in found.damage


def test_a_file_that_is_no_photo_is_refused_by_name(reader, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"<svg>")
    with pytest.raises(InputError, match=r"a\.jpg cannot be decoded"):
        reader(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="deleted or moved"):
        reader(Path("nowhere.jpg"))


def test_it_names_the_program_and_its_version(reader):
    assert reader.name.startswith("rapidocr 3.")


def test_lines_close_together_in_a_real_photo(reader):
    page = Path(__file__).parents[3] / "benchmarks" / "real_text" / "page.png"
    assert [line.text for line in reader(page).lines][:6] == [
        "Region-based segmentation",
        "Let us first determine markers of the coins and the",
        "background. These markers are pixels that we can label",
        "unambiguously as either object or background. Here,",
        "the markers are found at the two extreme parts of the",
        "histogram of grey values:",
    ]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_lines_are_in_order_in_a_photo_that_is_not_upright(texts, degrees):
    lines = ["Budget 2024", "receipt hardware", "morning ticket"]
    assert texts(written(*lines, height=30, size=(320, 240)).rotate(degrees, expand=True)) == lines


def test_print_as_dense_as_in_a_newspaper_is_found_in_strips(reader, tmp_path, monkeypatch):
    """The first look has five pixels from line to line. What stands in each line is not of interest here."""
    words = ["budget", "museum", "garden", "ticket", "winter", "silver", "market", "bridge", "window", "engine"]
    image = Image.new("RGB", (1600, 1200), (235, 232, 224))
    font = ImageFont.load_default(12)
    for row in range(32):
        line = " ".join(words[(row + place) % 10] for place in range(8))
        ImageDraw.Draw(image).text((600, 400 + 13 * row), line, (30, 30, 40), font)
    image.save(tmp_path / "a.png")
    monkeypatch.setattr(text_reader, "_read_line", lambda pixels, quad, recognise: ("line", 1.0))
    monkeypatch.setattr(dense_text, "_STRIP", 60_000)
    assert len(dense_text.dense_regions(np.asarray(image.resize((600, 450))), full=2.7, area=6_000_000)) > 2
    boxes = np.array([line.box for line in reader(tmp_path / "a.png").lines])
    np.testing.assert_allclose(boxes[:, [1, 3]].mean(axis=1), 407 + 13 * np.arange(32), atol=5)


def test_the_work_for_a_photo_is_bounded(reader, tmp_path, monkeypatch):
    written(*["word"] * 6, height=20).save(tmp_path / "a.png")
    monkeypatch.setattr(text_reader, "MOST_LINES", 4)
    assert len(reader(tmp_path / "a.png").lines) == 4


@pytest.mark.parametrize(("confidence", "times"), [(0.3, 1), (0.7, 4), (0.95, 1)])
def test_only_what_may_be_a_line_is_read_again(reader, confidence, times):
    tried = []

    def recognise(line: np.ndarray) -> SimpleNamespace:
        tried.append(line.shape)
        return SimpleNamespace(txts=("line",), scores=(confidence,))

    quad = np.array([[10, 10], [90, 10], [90, 30], [10, 30]], np.float32)
    reader._recognised(np.zeros((100, 100, 3), np.uint8), quad, recognise)
    assert len(tried) == times
