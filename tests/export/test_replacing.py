"""A bundle in the place of another: all of it, or the old one stays."""

import shutil
from pathlib import Path

import pytest
from shan_engine.base.errors import BundleError, InputError
from shan_engine.bundle.contents import Bundle
from shan_export.bundle_writer import export_bundle


def test_what_is_there_already_is_kept(checkpoint, bundle_copy, tmp_path):
    before = (bundle_copy / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="--overwrite"):
        export_bundle(checkpoint.folder, bundle_copy)
    assert (bundle_copy / "manifest.json").read_bytes() == before
    other = tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(BundleError, match="not a bundle"):
        export_bundle(checkpoint.folder, other, overwrite=True)
    assert (other / "holiday.jpg").read_bytes() == b"precious"


def test_an_overwritten_bundle_is_replaced_whole(make_checkpoint, local_bundle, graphs_of, bundle_copy):
    before = Bundle.open(bundle_copy).manifest
    (bundle_copy / "old.txt").write_text("left over")
    graphs_of(local_bundle)
    manifest = export_bundle(make_checkpoint(seed=3, steps=["l2l"]).folder, bundle_copy, overwrite=True)
    assert Bundle.open(bundle_copy).manifest == manifest
    assert manifest.fingerprint != before.fingerprint
    assert not (bundle_copy / "old.txt").exists()
    assert sorted(p.name for p in bundle_copy.parent.iterdir()) == ["bundle"]


def test_only_a_bundle_is_overwritten(checkpoint, bundle_copy, gallery_copy, tmp_path):
    def content(folder):
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    damaged = tmp_path / "damaged"
    shutil.copytree(bundle_copy, damaged)
    (damaged / "manifest.json").write_bytes((damaged / "manifest.json").read_bytes()[:-30])
    for folder in (gallery_copy, damaged):
        before = content(folder)
        with pytest.raises(BundleError, match="not a bundle that can be read, so it is not overwritten: choose"):
            export_bundle(checkpoint.folder, folder, overwrite=True)
        assert content(folder) == before
    file = tmp_path / "file"
    file.write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(BundleError, match="file is a file, not a folder: choose another place"):
            export_bundle(checkpoint.folder, file, overwrite=overwrite)
    assert file.read_text() == "precious"
    with pytest.raises(InputError, match=f"cannot write {file / 'bundle'}"):
        export_bundle(checkpoint.folder, file / "bundle")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [1, 2])
def test_where_the_exchange_fails_the_old_bundle_is_back(
    checkpoint, bundle_path, graphs_of, bundle_copy, monkeypatch, failing, error
):
    graphs_of(bundle_path)
    before, rename, calls = Bundle.open(bundle_copy).manifest, Path.rename, []

    def fail(path, target):
        if bundle_copy in (path, target):
            calls.append(path)
            if len(calls) == failing:
                raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        export_bundle(checkpoint.folder, bundle_copy, overwrite=True)
    assert len(calls) == (1 if failing == 1 else 3)
    assert Bundle.open(bundle_copy).manifest == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == ["bundle"]


def test_a_link_to_a_bundle_stays_a_link(make_checkpoint, local_bundle, graphs_of, bundle_copy, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(bundle_copy)
    graphs_of(local_bundle)
    manifest = export_bundle(make_checkpoint(seed=3, steps=["l2l"]).folder, link, overwrite=True)
    assert link.is_symlink()
    assert Bundle.open(bundle_copy).manifest == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "link"]


def test_a_bad_checkpoint_writes_nothing(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        export_bundle(tmp_path / "nothing", tmp_path / "new" / "bundle")
    assert list(tmp_path.iterdir()) == []
