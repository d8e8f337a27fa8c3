"""What is asked beside words, and what goes wrong, in a real browser."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.locate import demo_folder

sys.path.insert(0, str(Path(__file__).parent))

from in_browser import CHROMIUM, PHOTOS, chip, context, drop, expect, first, held_back, status
from served import served

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: the page is not tested in a browser")

COLUMNS = [
    {"name": "path", "type": "TEXT", "known": 9, "least": "a/x.jpg", "most": "b/x.jpg", "values": ["a/", "a/it's/"]},
    {"name": "taken", "type": "TEXT", "known": 9, "least": "2019-02-03 10:00:00", "most": "2024-05-06 10:00:00"},
    {"name": "latitude", "type": "REAL", "known": 9, "least": 40.5, "most": 50.5, "values": []},
    {"name": "longitude", "type": "REAL", "known": 9, "least": 1.5, "most": 9.5, "values": []},
]


def test_phrases_and_filters_are_chips(page):
    page.goto("/?q=a+windmill")
    status(page, "over 254 photos")
    page.get_by_role("button", name="Add words that count against").click()
    page.get_by_role("textbox", name="Words that count against").fill("a tower")
    page.keyboard.press("Enter")
    chip(page, "without a tower")
    page.get_by_label("Weight of a tower").fill("0.8")
    page.keyboard.press("Tab")
    page.wait_for_url("**without=a+tower%3A0.8*")
    page.get_by_role("button", name="Add a filter").click()
    page.get_by_role("combobox", name="Column").select_option("width")
    page.get_by_role("spinbutton", name="From").fill("300")
    page.get_by_role("spinbutton", name="To", exact=True).fill("320")
    page.get_by_role("button", name="Add", exact=True).click()
    chip(page, "Width 300 to 320")
    status(page, "of 254 photos")
    page.get_by_role("button", name="Add a filter").click()
    page.get_by_role("combobox", name="Column").select_option("licence")
    page.get_by_role("combobox", name="Value").fill("CC-BY-SA-3.0")
    page.keyboard.press("Enter")
    chip(page, "Licence: CC-BY-SA-3.0")
    expect(page).to_have_url(re.compile("filter=licence"))  # the browser has kept it, and a reload comes back to it
    page.reload()
    chip(page, "Licence: CC-BY-SA-3.0")
    expect(page.locator(".chip")).to_have_count(3)


def test_dates_places_and_folders_become_conditions(page):
    facts = {"gallery": "demo", "columns": [{"values": [], **column} for column in COLUMNS]}
    page.route("**/api/columns*", lambda route: route.fulfill(json=facts))
    page.expected.append("status of 400")  # the demo has none of these columns
    page.goto("/")
    status(page, "254 photos")

    def add(column, **fields):
        page.get_by_role("button", name="Add a filter").click()
        page.get_by_role("combobox", name="Column").select_option(label=column)
        for label, text in fields.items():
            page.locator("#adder").get_by_label(label, exact=True).fill(text)
        page.get_by_role("button", name="Add", exact=True).click()

    add("Folder", Value="a/it's/")
    chip(page, "Folder: a/it's/")
    add("Date", From="2020-01-01", To="2021-12-31")
    chip(page, "Date 2020-01-01 to 2021-12-31")
    with page.expect_request(lambda request: "/api/photos" in request.url and "near=" in request.url) as last:
        add("Near a place", **{"Latitude": "48.85", "Longitude": "2.35", "Distance, as 5km": "10km"})
    chip(page, "within 10km of 48.85, 2.35")
    expect(page).to_have_url(re.compile("near=48.85%2C2.35%2C10km"))
    asked = parse_qs(urlsplit(last.value.url).query)
    assert asked["where"] == [
        """substr("path", 1, 7) = 'a/it''s/' AND "taken" >= '2020-01-01' AND "taken" <= '2021-12-31 23:59:59'"""
    ]
    assert asked["near"] == ["48.85,2.35,10km"]
    page.get_by_role("button", name="Remove Folder").click()
    expect(page.locator(".chip")).to_have_count(2)


def test_a_photo_is_dropped_and_stays_out_of_the_address(page):
    page.goto("/")
    status(page, "254 photos")
    drop(page, (PHOTOS / "cat.jpg").read_bytes())
    chip(page, "like your photo")
    first(page, "cat.jpg")
    expect(page).to_have_url("/?gallery=demo")
    page.locator("#q").fill("on grass")
    expect(page).to_have_url(re.compile("q=on\\+grass"))  # the browser has kept both
    status(page, "over 254 photos")
    page.reload()  # the server still has the photo
    chip(page, "like your photo")


def test_wrong_input_is_told_and_nothing_is_lost(page):
    page.expected += ["status of 400", "status of 404"]
    page.goto("/?q=a+dog+on+grass")
    first(page, "dog.jpg")
    drop(page, b"no photo at all")
    page.locator("#notes", has_text="not a photo that can be read").wait_for()
    first(page, "dog.jpg")
    page.goto("/?q=a+dog&near=nowhere")
    page.locator("#notes", has_text="not a place and a distance").wait_for()
    page.goto("/?q=xyzzyq+plughq")
    page.locator("#notes p").first.wait_for()
    page.goto("/?q=a+%3Cimg+src%3Dx+onerror%3Dalert(1)%3E")
    status(page, "over 254 photos")
    page.goto("/?q=a+dog&photo=none.jpg")
    page.locator("#notes", has_text="no image 'none.jpg'").wait_for()


def test_a_gallery_that_changes_is_taken_up(page, gallery):
    def served_photos(count):
        """Wait until the server, which looks at a gallery at most once a second, has seen that it holds so many."""
        while page.request.get("/api/photos?limit=1").json()["photos"] != count:
            page.wait_for_timeout(50)

    page.goto("/?q=a+dog+on+grass")
    first(page, "dog.jpg")
    manifest = GalleryManifest.load(gallery)
    (block,) = manifest.blocks
    with_dog = [line for line, text in enumerate(images_of(gallery, block.name)) if '"dog.jpg"' in text]
    replace(manifest, blocks=(replace(block, deleted=tuple(with_dog)),)).save(gallery)
    try:
        served_photos(253)
        page.locator("#q").fill("a dog on the grass")
        status(page, "over 253 photos")
        expect(page.locator('#grid img[alt="dog.jpg"]')).to_have_count(0)
    finally:
        manifest.save(gallery)
        served_photos(254)  # as the tests after this one expect


def images_of(gallery, block):
    return (gallery / "blocks" / block / "images.jsonl").read_text("utf-8").splitlines()


def test_a_token_is_asked_for_once(browser, tmp_path):
    token = "0123456789abcdef"
    with served(tmp_path, SHAN_TOKEN=token) as server, context(browser, server) as profile:
        page = profile.new_page()
        page.goto("/?q=a+dog+on+grass")
        page.get_by_role("textbox", name="Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#asking-wrong")).to_contain_text("not the token")
        page.get_by_role("textbox", name="Token").fill(token)
        page.keyboard.press("Enter")
        first(page, "dog.jpg")
        page.goto(f"/#token={token}")
        status(page, "254 photos")
        expect(page).not_to_have_url(re.compile(token))


def test_a_gallery_of_captions_gives_sentences(browser, tmp_path):
    from in_process import output_of

    (tmp_path / "captions.txt").write_text("a dog runs over grass\na hammer\nan old windmill\n")
    output_of("index-captions", tmp_path / "captions.txt", "--output", tmp_path / "sentences.gallery")
    galleries = ("--gallery", demo_folder() / "gallery", "--gallery", tmp_path / "sentences.gallery")
    with served(tmp_path, *galleries) as server, context(browser, server) as profile:
        page = profile.new_page()
        with held_back(page, r"/api/photos\?"):
            with page.expect_request("**/api/photos?*"):
                page.goto("/")
            with page.expect_event("requestfailed", lambda request: "/api/photos" in request.url):
                page.get_by_label("Gallery").select_option("sentences")
            status(page, "This gallery holds sentences")
        drop(page, (PHOTOS / "dog.jpg").read_bytes())
        expect(page.locator("#grid li").first).to_have_text("a dog runs over grass")
