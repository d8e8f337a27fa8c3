"""Photos that are links to files elsewhere, and files that have several names."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extractors import detector
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.store.feature_store import FeatureStore


@pytest.fixture
def extractor(tmp_path: Path) -> FeatureExtractor:
    return FeatureExtractor(detector(tmp_path), "cpu", threads=1)


def grey(path: Path, level: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (10, 10), (level,) * 3).save(path)
    os.utime(path, ns=(level, level))


def test_links_are_renewed_and_removed_as_photos_are(tmp_path: Path, extractor: FeatureExtractor) -> None:
    photos = tmp_path / "photos"
    grey(photos / "stays.png", 1)
    for level in (9, 30):
        grey(tmp_path / "far" / f"{level}.png", level)
        (photos / "link.png").unlink(missing_ok=True)
        (photos / "link.png").symlink_to(tmp_path / "far" / f"{level}.png")
        assert extract_photos(photos, tmp_path / "s", extractor).removed == 0
        with FeatureStore.open(tmp_path / "s") as store:
            np.testing.assert_allclose(store.read(["link.png"])[0].features, level)
    (photos / "link.png").unlink()
    assert extract_photos(photos, tmp_path / "s", extractor).removed == 1


def test_the_same_file_under_another_name_is_no_namesake(tmp_path: Path, extractor: FeatureExtractor) -> None:
    grey(tmp_path / "photos" / "a.png", 5)
    extract_photos(tmp_path / "photos", tmp_path / "s", extractor)
    (tmp_path / "way").mkdir()
    os.link(tmp_path / "photos" / "a.png", tmp_path / "way" / "a.png")
    assert extract_photos(tmp_path / "way", tmp_path / "s", extractor).unchanged == 1
    with FeatureStore.open(tmp_path / "s") as store:
        assert store.read(["a.png"])[0].path == str(tmp_path / "way" / "a.png")


def test_photos_in_a_folder_that_cannot_be_listed_stay_in_the_store(
    tmp_path: Path, extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without the right to it, which the tests' user may have for every folder."""
    photos, closed = tmp_path / "photos", tmp_path / "photos" / "closed"
    photos.mkdir()
    for path in (photos / "a.png", photos / "gone.png", closed / "b.png"):
        grey(path, 5)
    extract_photos(photos, tmp_path / "s", extractor)
    (photos / "gone.png").unlink()
    scandir, stat = os.scandir, os.stat

    def refusing(call: Any) -> Any:
        def refuse(path: Any, *more: Any, **options: Any) -> Any:
            if str(path).startswith(str(closed)) and not (call is stat and str(path) == str(closed)):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *more, **options)

        return refuse

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing(scandir))
        patch.setattr(os, "stat", refusing(stat))
        result = extract_photos(photos, tmp_path / "s", extractor)
        assert (result.unchanged, result.removed) == (1, 1)
        assert result.broken == (f"cannot read {closed}: Permission denied; check its permissions and its disk",)
        with pytest.raises(InputError, match=f"cannot read {closed}: Permission denied"):
            extract_photos(closed, tmp_path / "other", extractor)
    assert extract_photos(photos, tmp_path / "s", extractor).unchanged == 2
