"""What the API answers about the demo."""

from __future__ import annotations

import io
import json
import shutil

import msgspec
import numpy as np
import pytest
import shan_engine
from in_process import shan
from PIL import Image
from shan_engine.locate import demo_folder
from shan_engine.search.results import MissingShard
from shan_web import answers
from shan_web.app import App
from shan_web.galleries import Galleries
from shan_web.openapi import document
from shan_web.safety import PAGE_TOKEN, Access
from shan_web.thumbnails import ThumbnailCache
from starlette.testclient import TestClient

HOST = "http://127.0.0.1:8750"
PHOTOS = demo_folder() / "photos"


def answer(client, route, kind, **parameters):
    found = client.get(route, params=parameters)
    assert found.status_code == 200, found.text
    msgspec.convert(found.json(), kind)  # as the OpenAPI document says
    return found.json()


def problem(client, status, route, **parameters):
    found = client.get(route, params=parameters)
    assert (found.status_code, list(found.json())) == (status, ["error"]), found.text[:500]
    return found.json()["error"]


def search(client, **parameters):
    return answer(client, "/api/search", answers.SearchAnswer, **parameters)


def ids(found):
    return [hit["id"] for hit in found["hits"]]


def test_a_search_answers_as_the_engine_does(client):
    found = search(client, q="a dog on grass", limit=5)
    with shan_engine.open() as engine:
        expected = engine.search("a dog on grass", top_k=5)
    assert ids(found) == [hit.image.id for hit in expected]
    first = found["hits"][0]
    assert first["score"] == pytest.approx(expected.hits[0].score, abs=1e-5)
    assert [word["word"] for word in first["words"]] == ["dog", "grass"]
    assert (found["photos"], found["matching"], found["next"]) == (254, 254, 5)


def test_pages_follow_each_other_without_a_gap(client):
    whole = search(client, q="a dog", limit=30)
    pages = [search(client, q="a dog", limit=10, skip=skip) for skip in (0, 10, 20)]
    assert [id for page in pages for id in ids(page)] == ids(whole)
    assert [hit["rank"] for page in pages for hit in page["hits"]] == list(range(1, 31))
    assert search(client, q="a dog", skip=250, limit=60)["next"] is None


def test_photos_phrases_and_filters_are_parts_of_a_query(client):
    like = answer(client, "/api/similar", answers.SearchAnswer, id="dog.jpg", limit=3)
    assert ids(like)[0] == "dog.jpg"
    assert ids(search(client, like="dog.jpg", limit=3)) == ids(like)
    assert "dog.jpg" not in ids(search(client, q="a dog", unlike="dog.jpg", limit=5))
    weighted = search(client, **{"q": "a dog", "with": "on grass:0.5", "without": "snow"}, limit=1)
    assert weighted["query"] == "a dog, with on grass (0.5), without snow (0.4)"
    narrow = search(client, q="a windmill", where="width = 320", limit=200)
    assert {hit["metadata"]["width"] for hit in narrow["hits"]} == {320}
    assert len(narrow["hits"]) == narrow["matching"] < 254


def test_photos_without_a_query_come_in_pages(client):
    first = answer(client, "/api/photos", answers.SearchAnswer, limit=200)
    second = answer(client, "/api/photos", answers.SearchAnswer, limit=200, skip=first["next"])
    assert sorted(ids(first) + ids(second)) == sorted(path.name for path in PHOTOS.iterdir())
    some = answer(client, "/api/photos", answers.SearchAnswer, where="id LIKE 'renewable%'")
    assert all(id.startswith("renewable") for id in ids(some))


def test_a_photo_is_explained_alone(client):
    found = answer(client, "/api/explain", answers.SearchAnswer, id="pig.jpg", q="a dog on grass")
    (hit,) = found["hits"]
    (same,) = (one for one in search(client, q="a dog on grass")["hits"] if one["id"] == "pig.jpg")
    assert hit["score"] == pytest.approx(same["score"], abs=1e-5)
    assert hit["words"] == same["words"]


def test_columns_and_galleries_are_told(client):
    found = answer(client, "/api/columns", answers.ColumnsAnswer)
    columns = {column["name"]: column for column in found["columns"]}
    assert columns["path"]["values"] == ["photos/"]
    assert columns["width"]["least"] < columns["width"]["most"] == 400
    assert "CC0-1.0" in columns["licence"]["values"]
    assert "taken" not in columns  # of no photo known
    (gallery,) = answer(client, "/api/galleries", answers.GalleriesAnswer)["galleries"]
    assert (gallery["name"], gallery["kind"], gallery["size"]) == ("demo", "photos", 254)
    assert answer(client, "/api/health", answers.HealthAnswer) == {"status": "ok"}


def test_a_thumbnail_is_small_and_kept(client, app):
    first = client.get("/api/thumbnail", params={"id": "dog.jpg", "side": 160})
    assert max(Image.open(io.BytesIO(first.content)).size) == 160
    (kept,) = app.work.cache.folder.glob("??/*.jpg")
    assert kept.read_bytes() == first.content
    kept.write_bytes(first.content[:-2])  # cut off: it is made again
    assert client.get("/api/thumbnail", params={"id": "dog.jpg", "side": 160}).content == first.content
    assert b'shan_thumbnails_total{kept="false"} 2.0' in client.get("/metrics").content


def test_an_original_comes_whole_or_in_ranges(client):
    held = (PHOTOS / "dog.jpg").read_bytes()
    assert client.get("/api/original", params={"id": "dog.jpg"}).content == held
    part = client.get("/api/original", params={"id": "dog.jpg"}, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, held[10:20])


def upload(client, app, body, **headers):
    return client.post("/api/uploads", content=body, headers={PAGE_TOKEN: app.access.page_token, **headers})


def test_an_uploaded_photo_is_searched_with(client, app):
    name = upload(client, app, (PHOTOS / "cat.jpg").read_bytes()).json()["upload"]
    assert ids(search(client, upload=name, limit=1)) == ["cat.jpg"]
    assert search(client, upload=name, q="on grass", limit=1)["query"] == "on grass, like photo"
    assert "no longer kept" in problem(client, 400, "/api/search", upload="gone")


def test_uploads_that_are_no_photo_are_refused(client, app):
    assert "there is no photo" in upload(client, app, b"").json()["error"]
    assert "not a photo that can be read" in upload(client, app, b"x" * 100).json()["error"]
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    assert "send a JPEG, PNG or WebP" in upload(client, app, postscript).json()["error"]  # Pillow would start a program
    large = io.BytesIO()
    Image.fromarray(np.zeros((8000, 8000), np.uint8)).save(large, "PNG")
    assert "50 megapixels" in upload(client, app, large.getvalue()).json()["error"]
    assert "32 MB" in upload(client, app, b"x" * (33 << 20)).json()["error"]


@pytest.mark.parametrize(
    ("status", "route", "parameters", "said"),
    [
        (404, "/api/search", {"q": "a dog", "gallery": "other"}, "no gallery 'other'"),
        (400, "/api/search", {"q": " "}, "nothing to search for"),
        (400, "/api/search", {"q": "a dog", "limit": "0"}, "limit"),
        (400, "/api/search", {"q": "a dog", "colour": "red"}, "colour"),
        (400, "/api/search", {"q": ["a dog", "a cat"]}, "given twice"),
        (400, "/api/search", {"q": "a dog", "where": "1=1; DROP TABLE photos"}, "cannot be used"),
        (400, "/api/search", {"q": "a dog", "where": "id IN (SELECT id FROM photos)"}, "cannot be used"),
        (400, "/api/search", {"q": "a dog", "near": "here"}, "not a place"),
        (400, "/api/search", {"q": "a dog", "like": "../../etc/passwd"}, "no image"),
        (404, "/api/thumbnail", {"id": "../../etc/passwd"}, "no image"),
        (404, "/api/original", {"id": "/etc/passwd"}, "no image"),
        (404, "/api/explain", {"id": "none", "q": "a dog"}, "no image"),
        (400, "/api/thumbnail", {"id": "dog.jpg", "side": "9999"}, "side"),
        (404, "/static/app.py", {}, "no such page"),
        (404, "/nothing", {}, "no such page"),
    ],
)
def test_what_cannot_be_asked_gets_one_sentence(client, status, route, parameters, said):
    assert said in problem(client, status, route, **parameters)


def test_a_filter_has_a_time_limit(client, monkeypatch):
    monkeypatch.setattr("shan_web.work.FILTER_SECONDS", 0.05)
    slow = "length(hex(randomblob(300000))) > 0"
    assert "takes longer than 0.05 s" in problem(client, 400, "/api/photos", where=slow)


def test_a_file_name_that_is_no_text_is_found_again(tmp_path, galleries):
    from shan_web.asked import OfPhoto, asked
    from shan_web.work import photo_address

    address = photo_address("/api/original", "demo", "caf\udce9 &?#.jpg")
    assert asked(OfPhoto, address.partition("?")[2].encode()).id == "caf\udce9 &?#.jpg"


def test_a_gallery_that_is_deleted_fails_in_words(tmp_path):
    shutil.copytree(demo_folder() / "gallery", tmp_path / "g")
    opened = Galleries.open([tmp_path / "g"], device="cpu", threads=1)
    client = TestClient(App(opened, Access(), tmp_path / "cache", can_open=False).asgi(), base_url=HOST)
    assert len(search(client, q="a dog", limit=1)["hits"]) == 1
    shutil.rmtree(tmp_path / "g")
    next(iter(opened))._looked = 0.0
    assert "there is no gallery" in problem(client, 503, "/api/search", q="a dog")
    assert client.get("/api/health").status_code == 503
    assert "there is no gallery" in client.get("/api/galleries").json()["galleries"][0]["problem"]
    opened.close()


def test_the_document_names_every_route(app):
    told = {(method.upper(), path) for path, one in document()["paths"].items() for method in one}
    routes = {(method, path) for method, path, _ in app._routes()}
    assert told == routes - {("GET", "/"), ("GET", "/static/{name}"), ("GET", "/openapi.json")}
    assert json.dumps(document())


def test_cards_are_sent_on_request(client):
    found = search(client, q="a dog on grass", limit=2, cards=True)
    assert len(found["cards"]) == 2
    assert 'alt="dog.jpg" src="/api/thumbnail?gallery=demo&amp;id=dog.jpg&amp;side=640&amp;v=' in found["cards"][0]
    assert "style=" not in found["cards"][0]


def test_thumbnails_come_without_a_cache_that_can_be_written(galleries, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    app = App(galleries, Access(), tmp_path / "cache", can_open=False)
    client = TestClient(app.asgi(), base_url=HOST)
    made = [client.get("/api/thumbnail", params={"id": "dog.jpg", "side": 160}).content for _ in range(2)]
    assert made[0] == made[1]
    assert Image.open(io.BytesIO(made[0])).size == (160, 120)


def test_the_cache_of_thumbnails_stays_small(tmp_path):
    cache = ThumbnailCache(tmp_path, most_bytes=1000)
    (tmp_path / "aa").mkdir()
    (tmp_path / "aa" / "killed.part").write_bytes(b"half")
    pictures = {f"photo {number}": bytes([number]) * 300 + b"\xff\xd9" for number in range(5)}
    for key, picture in pictures.items():
        cache.get(key, lambda picture=picture: picture)
        assert cache.get("photo 0", lambda: b"made again")[0] == pictures["photo 0"]  # the last used stays
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 1000
    assert cache.held_bytes <= 1000
    assert not cache.get("photo 1", lambda: b"made again")[1]


def test_a_thumbnail_is_upright(tmp_path):
    from shan_web.thumbnails import as_jpeg

    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right
    Image.new("RGB", (80, 40), "red").save(tmp_path / "a.jpg", exif=exif)
    upright = Image.open(io.BytesIO(as_jpeg(tmp_path / "a.jpg", 40)))
    assert upright.size == (20, 40)
    assert not upright.getexif()


def test_shards_are_one_gallery_and_a_lost_one_is_named(demo_shards, tmp_path):
    app = App(Galleries.of_shards(demo_shards), Access.to("127.0.0.1"), tmp_path / "cache", can_open=True)
    client = TestClient(app.asgi(), base_url=HOST, raise_server_exceptions=False)
    found = search(client, q="a dog on grass", limit=5, grouped=True)
    with shan_engine.open(device="cpu") as engine:
        expected = engine.search("a dog on grass", top_k=5, grouped=True)
    assert ids(found) == [hit.image.id for hit in expected]
    assert (found["photos"], found["matching"], found["missing"]) == (254, 254, [])
    assert ids(search(client, like="dog.jpg", limit=1)) == ["dog.jpg"]
    assert answer(client, "/api/photos", answers.SearchAnswer, limit=3)["matching"] == 254
    assert answer(client, "/api/explain", answers.SearchAnswer, q="a dog", id="dog.jpg")["hits"][0]["words"]
    assert {one["name"] for one in client.get("/api/columns").json()["columns"]} >= {"width", "path"}

    lost = demo_shards.shards[0]
    demo_shards._refused[lost.path] = MissingShard(str(lost.path), 127, "its worker died")
    (missing,) = search(client, q="a dog", limit=1)["missing"]
    assert missing == {"gallery": str(lost.path), "photos": 127, "why": "its worker died"}


@pytest.fixture
def demo_shards(tmp_path):
    from shan_engine.api import open_shards

    output = tmp_path / "shards"
    done = shan("gallery", "split", demo_folder() / "gallery", "--parts", "2", "--output", output)
    assert done.returncode == 0, done.stderr
    with open_shards([output], demo_folder() / "bundle", device="cpu", threads=1) as engine:
        yield engine
