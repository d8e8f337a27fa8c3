"""Import bottom-up features: a `.tsv` as Anderson et al., LXMERT and others write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from published import features, save, stored, tsv_row, write_tsv
from shan_engine.base.errors import InputError
from shan_engine.store.importers import import_features


def test_tsv(tmp_path: Path) -> None:
    images = {f"{number}": (features(k, 4), features(k, 2048)) for number, k in enumerate([36, 10, 100])}
    path = write_tsv(tmp_path / "trainval.tsv", [tsv_row(id, *arrays) for id, arrays in images.items()])
    totals: list[int] = []
    assert import_features(path, tmp_path / "s", batch_size=2, on_start=totals.append) == 3
    assert totals == [0]
    for id, record in stored(tmp_path / "s").items():
        np.testing.assert_array_equal(record.boxes, images[id][0])
        np.testing.assert_array_equal(record.features, images[id][1])
        assert (record.width, record.height) == (640, 480)


def test_tsv_with_a_heading_and_python_3_bytes(tmp_path: Path) -> None:
    row = tsv_row("a", features(2, 4), features(2, 8))
    row[4:] = [str(value.encode()) for value in row[4:]]
    heading = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features"]
    assert import_features(write_tsv(tmp_path / "x.tsv", [heading, row]), tmp_path / "s") == 1
    assert stored(tmp_path / "s")["a"].features.shape == (2, 8)


HEADING = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features"]


LXMERT = [
    "img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes",
    "features",
]  # fmt: skip


@pytest.mark.parametrize(
    "how", ["mark", "crlf", "heading", "other order", "lxmert", "lxmert heading", "quoted", "blank"]
)
def test_tsv_as_others_write_it(tmp_path: Path, how: str) -> None:
    boxes, regions = features(2, 4), features(2, 8)
    row = dict(zip(HEADING, tsv_row("007", boxes, regions), strict=True))
    names = HEADING
    if "lxmert" in how:
        row = dict.fromkeys(LXMERT, "AAAA") | {name.replace("image_", "img_"): value for name, value in row.items()}
        names = LXMERT
    if how == "other order":
        names = [*HEADING[::-1], "more"]
        row["more"] = "x"
    lines = [[row[name] for name in names]]
    if "heading" in how or how == "other order":
        lines.insert(0, names)
    cells = [[f'"{cell}"' if how == "quoted" else cell for cell in line] for line in lines]
    end = "\r\n" if how == "crlf" else "\n"
    text = "".join("\t".join(line) + end for line in cells) + (" \t\n\n" if how == "blank" else "")
    (tmp_path / "x.tsv").write_bytes(text.encode("utf-8-sig" if how == "mark" else "utf-8"))
    assert import_features(tmp_path / "x.tsv", tmp_path / "s") == 1
    held = stored(tmp_path / "s")["007"]
    np.testing.assert_array_equal(held.features, regions)
    np.testing.assert_array_equal(held.boxes, boxes)
    assert (held.width, held.height) == (640, 480)


def test_a_header_without_a_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.tsv, line 1, names no column boxes: it needs image_id"):
        import_features(write_tsv(tmp_path / "x.tsv", [[*HEADING[:4], "features"]]), tmp_path / "s")


def test_broken_and_doubled_images_are_left_out_and_listed(tmp_path: Path) -> None:
    rows = [tsv_row(str(number), features(2, 4), features(2, 8)) for number in range(4)]
    cut = [*rows[1][:5], rows[1][5][:-3]]
    path = write_tsv(tmp_path / "x.tsv", [cut, rows[0], rows[1], rows[0], rows[2][:3], rows[3]])
    with pytest.raises(InputError, match=r"line 1, .* pass --skip-broken to leave .* its 3 images that can be used"):
        import_features(path, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    said: list[str] = []
    assert import_features(path, tmp_path / "s", on_broken=said.append) == 3
    assert sorted(stored(tmp_path / "s")) == ["0", "1", "3"]
    assert [part for one, part in zip(said, ("line 1,", "id '0' twice", "line 5,"), strict=True) if part in one]
    np.save(tmp_path / "x.npy", np.array([[1, 2], [np.nan, 1], [3, 4]], np.float32))
    said.clear()
    assert import_features(tmp_path / "x.npy", tmp_path / "t", on_broken=said.append) == 2
    assert len(said) == 1
    assert "row 1" in said[0]
    with pytest.raises(InputError, match="line 1, has features that are not base64"):
        import_features(write_tsv(path, [cut]), tmp_path / "u", on_broken=said.append)


def test_rows_of_zeros_after_the_last_region_are_padding(tmp_path: Path) -> None:
    array = features(3, 5, 8)
    array[0, 3:] = 0
    array[1, 1] = 0
    array[2] = 0
    import_features(save(tmp_path / "x.npy", array), tmp_path / "s")
    assert [len(record.features) for record in stored(tmp_path / "s").values()] == [3, 5, 1]
    (tmp_path / "n").mkdir()
    np.savez(tmp_path / "n" / "a.npz", x=array[0], boxes=features(5, 4))
    row = tsv_row("a", features(5, 4), array[0])
    for place in (tmp_path / "n", write_tsv(tmp_path / "x.tsv", [row])):
        import_features(place, tmp_path / "s2", replace=True)
        held = stored(tmp_path / "s2")["a"]
        assert (held.features.shape, held.boxes.shape) == ((3, 8), (3, 4))


GOOD = tsv_row("good", features(2, 4), features(2, 8))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD[:5], "line 2, has 5 columns"),
        (["bad", *GOOD[1:3], "x", *GOOD[4:]], "line 2, .*not a number"),
        (tsv_row("bad", features(2, 4), features(2, 8), 3), "line 2, has 8 numbers for boxes, not 3 x 4"),
        (tsv_row("bad", features(0, 4), features(0, 8)), "line 2, has 0 boxes"),
        (tsv_row("bad", features(2, 4), features(15)), "line 2, has 15 numbers for features"),
        (tsv_row("bad", features(2, 4), np.full((2, 8), np.nan, np.float32)), "line 2, has NaN"),
        ([*GOOD[:5], GOOD[5][:-3]], "line 2, has features that are not base64"),
        ([*GOOD[:5], "*" * 8], "line 2, has features that are not base64"),
        (GOOD, "id 'good' twice"),
        (tsv_row("bad", features(2, 4), features(2, 6)), "'bad' has features of size 6"),
        (tsv_row("bad", features(101, 4), features(101, 8)), "'bad' has 101 regions"),
    ],
)
def test_wrong_tsv(tmp_path: Path, row: list[str], message: str) -> None:
    path = write_tsv(tmp_path / "x.tsv", [GOOD, row])
    with pytest.raises(InputError, match=message):
        import_features(path, tmp_path / "s", batch_size=1)
    assert list(stored(tmp_path / "s")) in (["good"], [])


@pytest.mark.parametrize(("data", "message"), [(b"", "is empty"), (b"\xff\xfe\t", "cannot be read")])
def test_unreadable_tsv(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.tsv").write_bytes(data)
    with pytest.raises(InputError, match=rf"x\.tsv {message}"):
        import_features(tmp_path / "x.tsv", tmp_path / "s")
