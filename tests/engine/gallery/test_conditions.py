"""Conditions that SQLite accepts in silence but nobody means are refused; names in any quotes are columns."""

from __future__ import annotations

import pytest
from shan_engine.base.errors import InputError
from shan_engine.base.metadata import Metadata
from shan_engine.gallery.conditions import check_comparisons
from shan_engine.gallery.filters import matching
from shan_engine.gallery.near import distance_km, near_condition
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from tiny import make_store

TYPES = {"id": "TEXT", "year": "INTEGER", "weight": "REAL", "town": "TEXT", "taken": "TEXT", "liked": "INTEGER"}


@pytest.mark.parametrize(
    "where",
    [
        "taken >= '2023-01-01'",
        "year >= 2020 and town = 'Bern'",
        "year = '2020' or year in (1, '2')",  # SQLite takes such a text as the number
        "liked = true and not liked = FALSE",
        "abs(year - 10) < 2 and length(town) > 5 and substr(taken, 1, 4) = '2023'",
        "town || year = 'Bern2020' and year || '' = 'x'",
        "year between -5 and 2020 and town not between 'a' and 'b'",
        "town like '%2023-01-01%' -- since 2023-01-01",
        "year - 1 - 1 = 2018 and year = 2020-2",
        "[town] is not null and `town` <> 'a'",
        "cast(town as integer) > 5",
    ],
)
def test_conditions_that_mean_what_they_say_pass(where):
    check_comparisons(where, TYPES)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("taken >= 2023-01-01", "computes 2023-01-01 as a number: put the date in single quotes"),
        ("taken >= 2023/1/31", "computes 2023/1/31 as a number"),
        ("taken like '2%' and taken < 2023-05", "computes 2023-05 as a number"),
        ("town = 5", "compares the text 'town' with the number 5: put the number in single quotes"),
        ("year > 1 and TAKEN >= 2023", "compares the text 'taken' with the number 2023"),
        ("5 < town", "compares the text 'town' with the number 5"),
        ("town = true", "compares the text 'town' with the number true"),
        ("town in ('a', 7)", "compares the text 'town' with the number 7"),
        ("year = 'recent'", "compares the number 'year' with the text 'recent': write the value as a number"),
        ("\"year\" not between 5 and 'x'", "compares the number 'year' with the text 'x'"),
        ("[weight] != ''", "compares the number 'weight' with the text ''"),
        ("liked = 'True'", "compares the number 'liked' with the text 'True'.*write the value without quotes"),
    ],
)
def test_conditions_that_do_not_are_refused(where, said):
    with pytest.raises(InputError, match=said):
        check_comparisons(where, TYPES)


@pytest.mark.parametrize(
    ("held", "date", "fits"),
    [
        ("2023-05-01 10:00:00", "2023-01-31", True),
        ("2023-05-01", "2023-01-31 10:00", True),
        ("2023-05-01 10:00:00", "2023-01-31T10:00", False),
        ("2023-05-01 10:00:00", "31/01/2023", False),
        ("31.01.2023", "2023-01-31", False),
        ("sometime", "2023-01-31", True),
        (None, "31/01/2023", True),
        ("2023-05-01", "a day", True),
    ],
)
def test_dates_have_the_form_of_the_columns(held, date, fits):
    if fits:
        check_comparisons(f"taken >= '{date}'", TYPES, lambda column: held)
    else:
        with pytest.raises(InputError, match=f"the date '{date}', but 'taken' has dates such as '{held}'"):
            check_comparisons(f"taken >= '{date}'", TYPES, lambda column: held)


@pytest.fixture(scope="module")
def gallery(scorer, tmp_path_factory) -> Gallery:
    folder = tmp_path_factory.mktemp("conditions")
    columns = {'size 5"': "INTEGER", "latitude": "REAL", "longitude": "REAL", "day": "TEXT"}
    places = (
        (1, 48.8583, 2.2945, "2023-05-01"), (2, 48.8606, 2.3376, "2023-06-01"),
        (3, -16.8, 179.99, None), (4, None, None, None),
    )  # fmt: skip
    with make_store(folder / "store", range(4)) as store:
        store.put_metadata(Metadata(columns, {f"photo{n}": row for n, row in enumerate(places)}))
        index_store(store, scorer, folder / "gallery")
    return Gallery.open(folder / "gallery")


@pytest.mark.parametrize("name", ['"size 5"""', '[size 5"]', '`size 5"`', '"SIZE 5"""'])
def test_a_name_with_a_quotation_mark_is_a_column(gallery, name):
    assert matching(gallery, f"{name} >= 3").ids() == ["photo2", "photo3"]


def test_dates_are_compared_with_those_of_the_gallery(gallery):
    assert matching(gallery, "day >= '2023-05-02' and id >= 'photo0' and day < '2024-01-01'").ids() == ["photo1"]
    with pytest.raises(
        InputError, match="the date '01/06/2023', but 'day' has dates such as '2023-05-01': write it so"
    ):
        matching(gallery, "day >= '01/06/2023'")


def test_a_filter_that_means_nothing_is_refused_before_it_selects(gallery):
    with pytest.raises(InputError, match="compares the text 'id' with the number 5"):
        matching(gallery, "id = 5")
    with pytest.raises(InputError, match=r"no such column: taken.*comes with `extract` and `index`: run both again"):
        matching(gallery, "taken > '2023'")


@pytest.mark.parametrize(
    ("near", "found"),
    [
        ("48.85837,2.294481,500m", [0]),
        ("48.8583, 2.2945, 3.1km", [0]),
        ("48.8583,2.2945,2MI", [0, 1]),
        ("-16.8,-179.99,3km", [2]),  # over the date line
        ("90,0,20100km", [0, 1, 2]),
    ],
)
def test_photos_near_a_place(gallery, near, found):
    assert matching(gallery, near_condition(near)).ids() == [f"photo{n}" for n in found]
    assert matching(gallery, near_condition(near, "id <> 'photo0' -- not this")).ids() == [
        f"photo{n}" for n in found if n
    ]


@pytest.mark.parametrize(
    "near", ["48.85,2.35", "48.85,2.35,5", "91,0,5km", "0,181,5km", "1.2.3,4,5km", "0,0,0km", "Paris"]
)
def test_what_is_no_place_is_refused(near):
    with pytest.raises(InputError, match=f"'{near}' is not a place and a distance: give latitude"):
        near_condition(near)


def test_distances_are_those_of_a_sphere():
    assert distance_km(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(343.6, abs=0.2)  # Paris to London
    assert distance_km(0, 0, 0, 180) == pytest.approx(20015.1, abs=0.1)
    assert distance_km(None, 0, 0, 0) is None
