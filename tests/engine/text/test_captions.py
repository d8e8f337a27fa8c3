from __future__ import annotations

import pytest
from shan_engine.base.errors import InputError
from shan_engine.text.captions import CaptionTable
from shan_engine.text.query_files import read_captions

HEADER = "split\timage\tcaption\n"


def table(tmp_path, text):
    path = tmp_path / "captions.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CaptionTable.read(path)


def test_splits_keep_the_files_order(tmp_path):
    read = table(tmp_path, HEADER + 'dev\tb\tone\ntrain\tc\ttwo\ndev\ta\tthree\ndev\tb\tfour "quoted"\n')
    dev = read.split("dev")
    assert dev.images == ("b", "a")
    assert dev.captions == ("one", "three", 'four "quoted"')
    assert dev.caption_images.tolist() == [0, 1, 0]
    assert read.split("train").images == ("c",)
    first = dev.images_between(0, 1)
    assert first.images == ("b",)
    assert first.captions == ("one", 'four "quoted"')
    assert first.caption_images.tolist() == [0, 0]
    assert dev.images_between(0, 99).captions == dev.captions


def test_empty_last_lines_and_the_quotation_marks_of_csv_writers(tmp_path):
    rows = ['"dev"\ta\t"a ""red"" hat"', 'dev\tb\t"stop" says the "sign"', 'dev\tc\t"a dog"']
    dev = table(tmp_path, "\r\n".join(['"split"\timage\tcaption', *rows, "", " ", ""])).split("dev")
    assert dev.captions == ('a "red" hat', '"stop" says the "sign"', "a dog")
    (tmp_path / "test_caps.txt").write_text("a dog\n" * 5 + "\r\n\n")
    assert len(CaptionTable.read(tmp_path).rows) == 5


def test_a_missing_split_lists_those_there(tmp_path):
    with pytest.raises(InputError, match="no split 'test': it has dev, train"):
        table(tmp_path, HEADER + "train\ta\tx\ndev\tb\ty\n").split("test")
    with pytest.raises(InputError, match="it has none"):
        table(tmp_path, HEADER).split("test")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "line 1"),
        ("image\tcaption\n", "line 1"),
        (HEADER + "dev\ta\n", "line 2"),
        (HEADER + "dev\ta\tx\ty\n", "line 2"),
        (HEADER + "dev\ta\tx\n\ndev\tb\ty\n", "line 3"),
        (HEADER + "dev\t \tx\n", "line 2"),
        (b"split\timage\tcaption\ndev\ta\t\xff\n", "not UTF-8"),
    ],
)
def test_a_wrong_table_names_the_line(tmp_path, text, part):
    with pytest.raises(InputError, match=part):
        table(tmp_path, text)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\n\n\n", ""])
def test_empty_lines_at_the_end_do_not_count(tmp_path, end):
    assert table(tmp_path, f"{HEADER}dev\ta\tx{end}").rows == (("dev", "a", "x"),)
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "test_caps.txt").write_bytes(("\r\n".join("abcde") + end).encode())
    assert [row[2] for row in CaptionTable.read(tmp_path / "scan").rows] == list("abcde")


def test_a_missing_table(tmp_path):
    with pytest.raises(InputError, match=r"there is no caption file .*gone\.tsv: give a table"):
        CaptionTable.read(tmp_path / "gone.tsv")


def test_a_file_that_cannot_be_read_is_not_called_missing(tmp_path):
    (tmp_path / "test_caps.txt").mkdir()
    with pytest.raises(InputError, match=r"cannot read the caption file .*test_caps\.txt: Is a directory; check"):
        CaptionTable.read(tmp_path)


def test_lines_are_split_at_line_feeds_alone(tmp_path):
    read = table(tmp_path, HEADER + "dev\ta\tone\u2028two\x0cthree\r\ndev\tb\tfour\n")
    assert read.split("dev").captions == ("one\u2028two\x0cthree", "four")


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    assert table(tmp_path, "\ufeff" + HEADER + "dev\ta\tx\n").split("dev").images == ("a",)


def test_caption_file(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("\ufeffa dog\r\n  a cat \u2028 \n\n".encode())
    assert read_captions(path) == ["a dog", "a cat"]
    for content, part in ((b"", "no captions"), (b"a\n\nb\n", "line 2"), (b"\xff", "UTF-8")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=part):
            read_captions(path)
    with pytest.raises(InputError, match="gone"):
        read_captions(tmp_path / "gone")


def test_a_language_chooses_its_rows(tmp_path):
    text = "split\timage\tlanguage\tcaption\ntrain\ta\tde\tHund\ntrain\ta\tfr\tchien\ntest\tb\tde\tKatze\n"
    everything = table(tmp_path, text)
    assert [row[2] for row in everything.rows] == ["Hund", "chien", "Katze"]
    german = CaptionTable.read(everything.path, ["de"])
    assert german.rows == (("train", "a", "Hund"), ("test", "b", "Katze"))
    with pytest.raises(InputError, match="no caption of the language 'cs': it has de, fr"):
        CaptionTable.read(everything.path, ["cs"])
    with pytest.raises(InputError, match="no caption of the language 'de': it has none"):
        CaptionTable.read(table(tmp_path, HEADER + "train\ta\tx\n").path, ["de"])


def test_captions_of_other_files_join_those_of_their_image(tmp_path):
    own = table(tmp_path, HEADER + "train\ta\ta dog\ntest\tb\ta cat\n")
    other = CaptionTable(tmp_path, (("train", "a", "ein Hund"), ("train", "b", "eine Katze")))
    joined = own.and_rows([other]).split("train")
    assert joined.captions == ("a dog", "ein Hund")
    assert joined.images == ("a",)
