"""Collections' files, and which gallery is meant where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.collections.named import collection_file, find_collection
from shan_engine.collections.settings import Collection
from shan_engine.locate import demo_bundle, locate_gallery

DEMO_GALLERY = demo_bundle().parent / "gallery"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("SHAN_GALLERY", raising=False)
    monkeypatch.delenv("SHAN_MODEL", raising=False)
    return tmp_path


def collection(home: Path, name: str = "photos", **changes: object) -> Collection:
    """A collection whose gallery looks like one that is there."""
    fields = {"folders": (home / "pictures",), "store": home / name / "s", "gallery": home / name / "g", **changes}
    made = Collection(name=name, **fields)
    made.gallery.mkdir(parents=True, exist_ok=True)
    (made.gallery / "manifest.json").write_text("{}")
    made.save(collection_file(name))
    return made


def test_a_collection_is_read_as_it_was_written(home):
    everything = {
        "folders": (home / "a", home / 'b "quoted" = é'),
        "exclude": ("*.tmp", "Screenshots/"),
        "storage": "float32",
        "model": home / "bundle",
        "extractor": home / "x.onnx",
        "metadata": home / "t.csv",
        "metadata_id_column": "file",
    }
    made = collection(home, "mine", **everything)
    assert Collection.read(collection_file("mine"), "mine") == made
    assert find_collection("mine") == made
    assert collection_file("mine").read_text("utf-8").startswith("# ")


def test_a_file_written_by_hand_may_name_the_home_folder_and_what_lies_beside_it(home, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    file = collection_file("photos")
    file.parent.mkdir(parents=True)
    file.write_text('folders = ["~/Pictures", "beside"]\nstore = "s"\ngallery = "/g"\n')
    found = find_collection(None)
    assert found.folders == (Path("/home/me/Pictures"), file.parent / "beside")
    assert (found.store, found.gallery, found.storage) == (file.parent / "s", Path("/g"), "float16")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("folders = \n", "Invalid value (at line 1"),
        ('folders = "a"\nstore = "s"\ngallery = "g"\n', "Expected `array`, got `str` - at `$.folders`"),
        ('folders = []\nstore = "s"\ngallery = "g"\n', "at `$.folders`"),
        ('folders = ["a"]\nstore = "s"\ngallery = "g"\nexcludes = []\n', "unknown field `excludes`"),
        ('folders = ["a"]\ngallery = "g"\n', "missing required field `store`"),
        ('folders = ["a"]\nstore = "s"\ngallery = "g"\nstorage = "int8"\n', "at `$.storage`"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(home, text, fault):
    file = collection_file("photos")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        locate_gallery(None, None)
    assert str(file) in str(refused.value)
    assert fault in str(refused.value)


def test_the_collection_comes_after_the_option_and_the_variable_and_before_the_demo(home, monkeypatch):
    assert locate_gallery(None, None).gallery == DEMO_GALLERY
    made = collection(home)
    place = locate_gallery(None, None)
    assert (place.gallery, place.reason, place.name) == (made.gallery, "the collection photos", "photos")
    monkeypatch.setenv("SHAN_GALLERY", str(home / "other"))
    assert locate_gallery(None, None).gallery == home / "other"
    assert locate_gallery(home / "given", None).gallery == home / "given"


def test_a_gallery_may_be_given_by_the_name_of_a_collection_or_as_demo(home, monkeypatch):
    first, second = collection(home), collection(home, "work")
    assert locate_gallery(Path("work"), None).gallery == second.gallery
    assert locate_gallery(None, None).gallery == first.gallery
    assert locate_gallery(Path("demo"), None).gallery == DEMO_GALLERY
    monkeypatch.setenv("SHAN_GALLERY", "work")
    assert locate_gallery(None, None).gallery == second.gallery
    monkeypatch.chdir(home)
    assert locate_gallery(Path("work"), None).gallery == Path("work"), "a folder that is there comes first"


def test_of_several_collections_without_the_usual_one_none_is_guessed(home):
    only = collection(home, "work")
    assert find_collection(None) == only
    collection(home, "family")
    with pytest.raises(InputError, match="there are 2 collections: name one of family, work"):
        locate_gallery(None, None)
    with pytest.raises(InputError, match="there is no collection 'wrok': there are family, work"):
        find_collection("wrok")


def test_a_collection_without_a_gallery_names_the_command_that_makes_it(home):
    made = collection(home, "work")
    (made.gallery / "manifest.json").unlink()
    with pytest.raises(GalleryError, match=r"'work' has no gallery yet: make it with `shan-engine update work`"):
        locate_gallery(None, None)


@pytest.mark.parametrize("name", ["", "demo", "a/b", "..", "a b", "x" * 65])
def test_a_name_that_cannot_be_a_file_is_refused(name):
    with pytest.raises(InputError, match="cannot be a collection's name"):
        collection_file(name)


def test_without_a_home_folder_the_demo_is_searched(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # no HOME, and a user without an entry
    assert locate_gallery(None, None).gallery == DEMO_GALLERY
    with pytest.raises(InputError, match="set HOME or XDG_CONFIG_HOME"):
        collection_file("photos")
