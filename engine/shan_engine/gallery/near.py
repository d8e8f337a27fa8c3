"""Photos taken near a place: a condition on the columns `latitude` and `longitude`."""

from __future__ import annotations

import math
import re

from shan_engine.base.errors import InputError

EARTH_KM = 6371.0088
_KM = {"km": 1.0, "m": 0.001, "mi": 1.609344}
_NEAR = re.compile(r"\s*([-+]?[\d.]+)\s*,\s*([-+]?[\d.]+)\s*,\s*([\d.]+)\s*(km|m|mi)\s*", re.IGNORECASE)


def distance_km(latitude: object, longitude: object, other_latitude: object, other_longitude: object) -> float | None:
    """The distance of two places in degrees, in km over a sphere; None where one is not known. An SQL function."""
    places = (latitude, longitude, other_latitude, other_longitude)
    if not all(isinstance(value, int | float) for value in places):
        return None
    north, east, other_north, other_east = (math.radians(value) for value in places)  # type: ignore[arg-type]
    half = math.sin((other_north - north) / 2) ** 2
    half += math.cos(north) * math.cos(other_north) * math.sin((other_east - east) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def near_condition(near: str, where: str | None = None) -> str:
    """An SQL condition for what `near` says, such as 48.85,2.35,5km, and for `where`, if it is given.

    Raises InputError where it is no latitude, longitude and distance in km, m or mi.
    """
    found = _NEAR.fullmatch(near)
    try:
        latitude, longitude, distance = (float(number) for number in found.groups()[:3]) if found else (math.nan,) * 3
    except ValueError:
        latitude = longitude = distance = math.nan
    if found is None or not (abs(latitude) <= 90 and abs(longitude) <= 180 and distance > 0):
        raise InputError(
            f"'{near}' is not a place and a distance: give latitude, longitude and a distance in km, m or mi, such as "
            "48.85,2.35,5km"
        )
    km = distance * _KM[found[4].lower()]
    reach = math.degrees(km / EARTH_KM) + 1e-9
    condition = (
        f"latitude BETWEEN {latitude - reach!r} AND {latitude + reach!r} "
        f"AND distance_km(latitude, longitude, {latitude!r}, {longitude!r}) <= {km!r}"
    )
    return condition if where is None else f"{condition} AND (\n{where}\n)"
