"""benchmarks/transfer.py and benchmarks/pointing.py over three of the demo's photos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "artifacts" / "demo"
BOXES = """image\tcategory\tx0\ty0\tx1\ty1\twidth\theight
dog.jpg\tdog\t0\t0\t400\t300\t400\t300
butterfly.jpg\tbutterfly\t95\t60\t298\t210\t400\t225
cat.jpg\tcat\t399\t299\t400\t300\t400\t300
"""  # the cat's box lies where no region's centre does


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "coco" / "photos").mkdir(parents=True)
    captions = ["split\timage\tcaption"]
    for name in ("dog", "butterfly", "cat"):
        shutil.copy(DEMO / "photos" / f"{name}.jpg", tmp_path / "coco" / "photos")
        captions.append(f"dev\t{name}.jpg\ta {name}")
    (tmp_path / "coco" / "captions.tsv").write_text("\n".join(captions) + "\n", "utf-8")
    (tmp_path / "coco" / "boxes.tsv").write_text(BOXES, "utf-8")
    return tmp_path / "coco"


def test_transfer(script, folder, tmp_path, capsys):
    path = tmp_path / "transfer.json"
    script("transfer").main([str(folder), "--report", str(path), "--row", "three"])
    found = json.loads(path.read_text("utf-8"))["three"]
    assert (found["images"], found["captions"], found["categories"]) == (3, 3, 3)
    assert found["rsum"] == 600
    assert found["mean_average_precision"] == {"dog": 1, "a dog": 1}
    assert "rSum 600.0" in capsys.readouterr().out


def test_pointing(script, folder, tmp_path):
    path = tmp_path / "pointing.json"
    script("pointing").main([str(folder), "--report", str(path)])
    found = json.loads(path.read_text("utf-8"))["demo"]
    everything, small = found["all"], found["at most a quarter"]
    assert (everything["cases"], small["cases"]) == (3, 1)
    assert everything["explanation"] == pytest.approx(2 / 3, abs=1e-4)  # the dog fills its photo
    assert everything["middle"] == everything["ceiling"] == everything["explanation"]
    assert everything["chance"] == pytest.approx((1 + 203 * 150 / (400 * 225)) / 3, abs=0.002)
    assert small["explanation"] == small["ceiling"] == 0


def test_words_of_a_name(script):
    from shan_engine import GalleryImage, Hit, WordRegion

    pointing, image = script("pointing"), GalleryImage("a.jpg", "a.jpg", 100, 100, 0)
    (thing,) = [script("transfer").Instance((0, 0, 50, 50), (100, 100))]
    on, off = (0, 0, 20, 20), (60, 60, 100, 100)
    words = tuple(WordRegion(word, 0, box, 1.0) for word, box in (("a", on), ("stop", off), ("sign", on)))
    assert pointing.pointed(Hit(1, 0.0, image, words=words), "stop sign", [thing]) == 0.5
    assert script("transfer").with_article("orange") == "an orange"
