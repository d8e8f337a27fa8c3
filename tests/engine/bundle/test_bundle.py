from __future__ import annotations

import hashlib
import json
import math
import shutil

import pytest
from shan_engine.base.errors import BundleError
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import Manifest
from shan_engine.locate import demo_bundle


def write(folder, **changes):
    """The manifest with other fields and a digest that is theirs."""
    path = folder / "manifest.json"
    fields = {**json.loads(path.read_text()), **changes}
    fields.pop("digest")
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**fields, "digest": digest}))


def test_any_changed_byte_of_the_manifest_is_noticed(bundle_copy):
    path = bundle_copy / "manifest.json"
    content, manifest, same = path.read_bytes(), Manifest.load(bundle_copy), 0
    for place in range(len(content)):
        for bit in (0x01, 0x04, 0x20):
            changed = bytearray(content)
            changed[place] ^= bit
            path.write_bytes(changed)
            try:
                # Some bytes say the same in another way, such as an exponent's E.
                assert Manifest.load(bundle_copy) == manifest, f"byte {place}"
                same += 1
            except BundleError:
                pass
    assert same < 10
    path.write_bytes(content)
    assert Manifest.load(bundle_copy) == manifest


def test_a_manifest_written_again_says_the_same(bundle_copy):
    path = bundle_copy / "manifest.json"
    content, manifest = path.read_bytes(), Manifest.load(bundle_copy)
    manifest.save(bundle_copy)
    assert path.read_bytes() == content
    assert Bundle.open(bundle_copy).manifest == manifest


@pytest.mark.parametrize("digest", ["", None, 5, "0" * 64])
def test_another_digest_is_damage(bundle_copy, digest):
    path = bundle_copy / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": digest}))
    with pytest.raises(BundleError, match=r"not those that were written.*: export the bundle again"):
        Bundle.open(bundle_copy)


def test_a_manifest_without_a_digest_is_refused(bundle_copy):
    path = bundle_copy / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["digest"]
    path.write_text(json.dumps(fields))
    with pytest.raises(BundleError, match=r"it has no digest.*: export the bundle again"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"files": 5}, "at files: expected object, got int"),
        ({"files": ["vocab.json"]}, "at files: expected object, got array"),
        ({"files": {"vocab.json": 5}}, r"at files\[\.\.\.\]: expected str, got int"),
        ({"files": {"vocab.json": "F" * 64}}, r"vocab\.json has no SHA-256"),
        ({"fingerprint": None}, "fingerprint"),
        ({"fingerprint": "abc"}, "fingerprint"),
        ({"model": []}, "model"),
        ({"feature_dim": "24"}, "feature_dim"),
        ({"feature_dim": True}, "feature_dim"),
        ({"feature_dim": 0}, "feature_dim"),
        ({"feature_extractor": 5}, "feature_extractor"),
        ({"max_words": 12.5}, "max_words"),
        ({"max_words": 2}, "max_words"),
        ({"parity": "small"}, "parity"),
        ({"parity": math.nan}, "parity"),
        ({"parity": -1.0}, "parity"),
        ({"version": True}, "version"),
        ({"version": "1"}, "version"),
        ({"news": 1}, "unknown field `news`"),
    ],
)
def test_a_field_of_another_type_is_named(bundle_copy, changes, part):
    write(bundle_copy, **changes)
    with pytest.raises(BundleError, match=f"manifest.json is damaged.*{part}.*: export the bundle again"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "/etc/passwd", "a/b", "a\\b", "a\0", "\ud800", "C:x"])
def test_a_file_name_that_leads_elsewhere_is_refused(bundle_copy, name):
    (bundle_copy.parent / "secret").write_bytes(b"")
    files = Manifest.load(bundle_copy).files
    write(bundle_copy, files={**files, name: hashlib.sha256(b"").hexdigest()})
    with pytest.raises(BundleError, match="is not a plain one"):
        Bundle.open(bundle_copy)


def test_a_gallerys_manifest_is_not_a_bundles(bundle_copy, gallery_path):
    shutil.copyfile(gallery_path / "manifest.json", bundle_copy / "manifest.json")
    with pytest.raises(BundleError, match="is a gallery, not a bundle"):
        Bundle.open(bundle_copy)


def test_a_manifest_nested_without_end_is_damage(bundle_copy):
    (bundle_copy / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match="damaged"):
        Bundle.open(bundle_copy)


def test_the_demos_bundle_opens():
    assert Bundle.open(demo_bundle()).manifest.feature_extractor.startswith("efficientnet-lite2-384-")


def test_settings_of_parts_are_read_and_a_bundle_without_any_does_not_write_them(bundle_copy):
    assert "parts" not in json.loads((bundle_copy / "manifest.json").read_text())
    assert Bundle.open(bundle_copy).manifest.parts == {}
    settings = {"classes": {"floor": 0.2, "weight": 0.1}}
    write(bundle_copy, parts=settings)
    assert Bundle.open(bundle_copy).manifest.parts == settings
    write(bundle_copy, parts={"classes": {"floor": "low"}})
    with pytest.raises(BundleError, match=r"at parts.*: expected float, got str.*: export"):
        Bundle.open(bundle_copy)
