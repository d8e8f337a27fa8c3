"""What a page asks of a gallery, on the demo."""

from __future__ import annotations

import pytest
import shan_engine
from shan_engine.base.errors import InputError
from shan_engine.locate import demo_folder
from shan_engine.photos.decode import refuse_untrusted


@pytest.fixture(scope="module")
def engine():
    with shan_engine.open(device="cpu", threads=1) as opened:
        yield opened


def ids(found):
    return [hit.image.id for hit in found]


@pytest.mark.parametrize("grouped", [False, True])
def test_skipped_hits_are_left_out_and_ranks_go_on(engine, grouped):
    whole = engine.search("a dog", top_k=8, grouped=grouped)
    rest = engine.search("a dog", top_k=8, skip=5, grouped=grouped)
    assert [(hit.rank, hit.image.id, hit.words) for hit in rest] == [
        (hit.rank, hit.image.id, hit.words) for hit in whole.hits[5:]
    ]
    assert rest.best_probability == whole.best_probability
    with pytest.raises(InputError, match="skipped"):
        engine.search("a dog", skip=-1)


def test_a_stored_photo_is_found_as_its_file_is(engine):
    stored = engine.search(image=engine.stored_photo("dog.jpg"), top_k=5)
    read = engine.search(image=demo_folder() / "photos" / "dog.jpg", top_k=5)
    assert ids(stored) == ids(read)
    assert [hit.score for hit in stored] == pytest.approx([hit.score for hit in read], abs=0.02)  # stored as float16
    with pytest.raises(InputError, match="no image 'none'"):
        engine.stored_photo("none")


def test_likeness_to_an_unwanted_photo_is_subtracted(engine):
    dog = engine.stored_photo("dog.jpg")
    (plain,) = engine.search("a dog", ids=["pig.jpg"])
    (like,) = engine.search(image=dog, ids=["pig.jpg"])
    (found,) = engine.search("a dog", unlike=[dog], ids=["pig.jpg"])
    assert found.score == pytest.approx(plain.score - 0.4 * like.score, abs=1e-5)
    hubness = 0.0 if found.hubness is None else found.hubness
    assert sum(found.step_scores) - hubness == pytest.approx(found.score, abs=1e-5)
    with pytest.raises(InputError, match="nothing to search for"):
        engine.search(unlike=[dog])


def test_photos_without_a_query_are_those_that_match(engine):
    some = engine.browse(where="id LIKE 'fishes%'", top_k=200)
    assert sorted(ids(some)) == sorted(id for id in engine.ids if id.startswith("fishes"))
    assert ids(engine.browse(where="id LIKE 'fishes%'", skip=3, top_k=6)) == ids(some)[3:6]
    assert len(engine.browse(where="width = 1").hits) == 0


def test_columns_say_what_they_hold(engine):
    facts = {one.name: one for one in engine.column_facts}
    assert "taken" not in facts
    assert (facts["width"].known, facts["width"].type, facts["width"].most) == (254, "INTEGER", 400)
    assert facts["path"].values == ("photos/",)
    assert facts["licence"].values[0] == "GPL-3+ (package default)"


def test_a_photo_from_someone_else_is_checked_before_it_is_decoded(tmp_path):
    (tmp_path / "photo").write_bytes((demo_folder() / "photos" / "dog.jpg").read_bytes())
    refuse_untrusted(tmp_path / "photo", 400 * 300)
    with pytest.raises(InputError, match="400 x 300 pixels"):
        refuse_untrusted(tmp_path / "photo", 400 * 300 - 1)
