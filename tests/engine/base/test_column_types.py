"""A column's type is never guessed silently: values are taken for what they are, or a sentence tells."""

from __future__ import annotations

import pyarrow
import pyarrow.parquet
import pytest
from shan_engine.base.metadata import Metadata


def read(tmp_path, *values: str):
    """Type, values and notices of a column `x` of a CSV file."""
    path = tmp_path / "photos.csv"
    path.write_text("id,x\n" + "".join(f"{row},{value}\n" for row, value in enumerate(values)), "utf-8")
    table = Metadata.read(path)
    return table.columns["x"], [row[0] for row in table.rows.values()], [n.partition(": ")[2] for n in table.notices]


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (("True", "False", "TRUE", ""), "INTEGER", [1, 0, 1, None]),
        ((" 5", "-7 ", "  "), "INTEGER", [5, -7, None]),
        (("1e3", ".5", "2"), "REAL", [1000.0, 0.5, 2.0]),
        (("2023-05-01", "2023-05-02"), "TEXT", ["2023-05-01", "2023-05-02"]),
        (("N/A", "-"), "TEXT", ["N/A", "-"]),
        (("red", "  ", "true"), "TEXT", ["red", None, "true"]),
        (("", " "), "TEXT", [None, None]),
    ],
)
def test_values_have_the_type_that_they_look_like(tmp_path, texts, kind, values):
    assert read(tmp_path, *texts) == (kind, values, [])


@pytest.mark.parametrize(
    ("texts", "kind", "values", "told"),
    [
        (("1990", "N/A", "2000", "nan"), "INTEGER", [1990, None, 2000, None], "has 'N/A' and 1 more among numbers"),
        (("true", "unknown"), "INTEGER", [1, None], "has 'unknown' among numbers: taken as unknown (NULL)"),
        (("1990", "about 2000", "2010"), "TEXT", ["1990", "about 2000", "2010"], "is text, as row 2 has 'about 2000'"),
        (("03/05/2023", "31/05/2023"), "TEXT", ["03/05/2023", "31/05/2023"], "dates such as 03/05/2023, which do not"),
        (("2023:05:03 10:00:00",), "TEXT", ["2023:05:03 10:00:00"], "write 2023-05-31"),
        (('"3,5"', '"4,25"'), "TEXT", ["3,5", "4,25"], "has numbers with a comma such as 3,5"),
        (("12345678901234567890", "1"), "REAL", [12345678901234567890.0, 1.0], "whose last digits are lost"),
    ],
)  # fmt: skip
def test_what_a_reader_might_not_expect_is_told(tmp_path, texts, kind, values, told):
    found, held, (notice,) = read(tmp_path, *texts)
    assert (found, held) == (kind, values)
    assert notice.startswith("the column 'x' ")
    assert told in notice


def test_blanks_after_commas_are_no_part_of_names_and_values(tmp_path):
    path = tmp_path / "photos.csv"
    path.write_text('\ufeffid, year, licence\na.jpg, 2020, CC0\nb.jpg, 2021, "by, sa"\n', "utf-8")
    table = Metadata.read(path)
    assert table.columns == {"year": "INTEGER", "licence": "TEXT"}
    assert table.rows == {"a.jpg": (2020, "CC0"), "b.jpg": (2021, "by, sa")}


def test_parquet_has_times_in_nanoseconds_and_durations(tmp_path):
    times = [1_690_000_000_123_456_789, 1_690_000_000_000_000_000, None]
    columns = {
        "id": ["a", "b", "c"],
        "mtime": pyarrow.array(times, pyarrow.timestamp("ns")),
        "zoned": pyarrow.array([1_690_000_000, None, None], pyarrow.timestamp("s", "Europe/Paris")),
        "clock": pyarrow.array([3_600_000_000_000, None, None], pyarrow.time64("ns")),
        "length": pyarrow.array([1_500_000_001, None, 0], pyarrow.duration("ns")),
        "wait": pyarrow.array([90, None, None], pyarrow.duration("s")),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "photos.parquet")
    table = Metadata.read(tmp_path / "photos.parquet")
    assert table.columns == {"mtime": "TEXT", "zoned": "TEXT", "clock": "TEXT", "length": "REAL", "wait": "REAL"}
    assert table.rows == {
        "a": ("2023-07-22 04:26:40.123456", "2023-07-22 06:26:40+02:00", "01:00:00", 1.500000001, 90.0),
        "b": ("2023-07-22 04:26:40", None, None, None, None),
        "c": (None, None, None, 0.0, None),
    }
    assert [notice.partition(": ")[2] for notice in table.notices] == [
        "the column 'mtime' has times in nanoseconds: kept to the microsecond"
    ]
