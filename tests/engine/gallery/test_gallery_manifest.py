"""A gallery's manifest that is no gallery's, or no longer the one that was written."""

from __future__ import annotations

import json

import pytest
from shan_engine.base.errors import GalleryError
from shan_engine.base.manifests import digest
from shan_engine.gallery.reader import Gallery


def without(fields, name):
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        lambda m: {**m, "version": "1"},
        lambda m: {**m, "version": True},
        lambda m: {**m, "surprise": 1},
        lambda m: without(m, "dtype"),
        lambda m: {**m, "fingerprint": 5},
        lambda m: {**m, "feature_extractor": None},
        lambda m: {**m, "dtype": "float64"},
        lambda m: {**m, "centroids": "../x"},
        lambda m: {**m, "dtype": ["float32"]},
        lambda m: {**m, "arrays": []},
        lambda m: {**m, "arrays": {}},
        lambda m: {**m, "arrays": {**m["arrays"], "x": "99"}},
        lambda m: {**m, "arrays": {**m["arrays"], "x": [9, -1]}},
        lambda m: {**m, "arrays": {**m["arrays"], "x": [9.0]}},
        lambda m: {**m, "arrays": {**m["arrays"], "region_mask": []}},
        lambda m: {**m, "arrays": {**m["arrays"], "../../x": [9]}},
        lambda m: {**m, "blocks": {}},
        lambda m: {**m, "blocks": [5]},
        lambda m: {**m, "blocks": [m["blocks"][0]] * 2},
        lambda m: {**m, "blocks": [without(m["blocks"][0], "deleted")]},
        *(
            lambda m, name=name, value=value: {**m, "blocks": [{**m["blocks"][0], name: value}]}
            for name, values in {
                "name": ("../../../etc", "0123456789AB", "0123456789ab\n", 123456789012),
                "images": (-1, "41", 41.0, None),
                "deleted": (None, "12", {}, [41], [-1], [3, 3], [1.0], [True]),
            }.items()
            for value in values
        ),
    ],
)
def test_a_manifest_of_wrong_types_is_damaged(gallery_copy, change):
    path = gallery_copy / "manifest.json"
    changed = change(without(json.loads(path.read_text()), "digest"))
    for fields in (changed, {**changed, "digest": digest(changed)}):
        path.write_text(json.dumps(fields))
        with pytest.raises(GalleryError, match=r"manifest\.json is damaged"):
            Gallery.open(gallery_copy)


def test_a_changed_number_in_the_manifest_is_damage(gallery_copy):
    path = gallery_copy / "manifest.json"
    fields = json.loads(path.read_text())
    fields["blocks"][0]["deleted"] = [3]
    path.write_text(json.dumps(fields))
    with pytest.raises(GalleryError, match=r"manifest\.json is damaged .*not those that were written"):
        Gallery.open(gallery_copy)


def test_a_manifest_that_nests_without_end_is_damaged(gallery_copy):
    (gallery_copy / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(GalleryError, match=r"manifest\.json is damaged"):
        Gallery.open(gallery_copy)
