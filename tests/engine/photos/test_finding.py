"""The photos of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from shan_engine.base.errors import InputError
from shan_engine.photos import find, formats
from shan_engine.photos.find import find_photos

UNREAD_ONES = ("a/g.HEIC", "h.heic", "i.dng", ".hidden/j.heic", ".k.heic")


@pytest.fixture
def no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "READ", formats.PLAIN)
    monkeypatch.setattr(find, "UNREAD", formats.HEIF | formats.RAW | formats.VIDEO)


@pytest.mark.usefixtures("no_extras")
def test_find_photos(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.webp", "a.png", ".hidden/d.jpg", "a/.e.jpg", "notes.txt", "f.jpeg", *UNREAD_ONES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    listing = find_photos(tmp_path)
    found = listing.photos
    assert [photo.id for photo in found] == ["a.png", "a/c.webp", "b.JPG", "f.jpeg"]
    assert found[1].path == (tmp_path / "a/c.webp").resolve()
    assert list(listing.passed_over.items()) == [(".heic", 2), (".dng", 1)]
    (tmp_path / "a.png").write_bytes(b"xy")
    changed = find_photos(tmp_path).photos
    assert [one.stamp != two.stamp for one, two in zip(found, changed, strict=True)] == [True, *[False] * 3]


@pytest.mark.usefixtures("no_extras")
def test_no_photos(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "a.heic").write_text("x")
    with pytest.raises(InputError, match=r"no photos in .* ending in .*; 1 \.heic are not read, save them as JPEG"):
        find_photos(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        find_photos(tmp_path / "missing")
