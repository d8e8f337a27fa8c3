"""The page in a real browser: Debian's Chromium, driven by Playwright, against a server of its own process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from in_browser import CHROMIUM, chip, context, expect, first, held_back, status

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: the page is not tested in a browser")


def test_typing_searches_and_the_address_follows(page):
    page.goto("/")
    status(page, "254 photos, the newest first")
    page.keyboard.type("a dog on grass")
    expect(page).to_have_url("/?gallery=demo&q=a+dog+on+grass")
    expect(page.locator("#legend button")).to_have_text(["dog", "grass"])
    first(page, "dog.jpg")
    status(page, "over 254 photos")
    page.reload()
    first(page, "dog.jpg")
    expect(page.locator("#q")).to_have_value("a dog on grass")
    page.locator("#q").fill("a cat")
    first(page, "cat.jpg")
    page.locator("#q").fill("")
    status(page, "254 photos, the newest first")


def test_the_last_answer_wins(page):
    with held_back(page, "/api/search.*q=a%20cat"):
        page.goto("/")
        status(page, "254 photos, the newest first")
        with page.expect_request(lambda request: "q=a%20cat" in request.url) as overtaken:
            page.locator("#q").fill("a cat")
        expect(page.locator("#grid")).to_have_class(re.compile("stale"))
        with page.expect_event("requestfailed", lambda request: request == overtaken.value):
            page.locator("#q").fill("a dog on grass")
        first(page, "dog.jpg")
        expect(page.locator("#grid")).not_to_have_class(re.compile("stale"))


def test_photos_go_on_where_those_of_the_question_before_are_still_on_their_way(page):
    page.set_viewport_size({"width": 2560, "height": 1600})  # 48 photos do not fill it
    with held_back(page, "/api/photos.*skip=48"):
        with page.expect_request(re.compile("/api/photos.*skip=48")):
            page.goto("/")
        page.locator("#q").fill("a dog on grass")
        first(page, "dog.jpg")
        expect(page.locator("#grid li").nth(48)).to_be_attached()


def test_the_grid_fills_its_rows_and_goes_on(page):
    page.goto("/?q=a+dog")
    first(page, "dog.jpg")
    page.wait_for_function("""() => {
      const rows = {}, grid = document.getElementById("grid").getBoundingClientRect();
      for (const tile of document.querySelectorAll("#grid li")) {
        const box = tile.getBoundingClientRect();
        (rows[Math.round(box.top)] ??= []).push(box.right);
      }
      const missing = Object.values(rows).map(ends => grid.right - Math.max(...ends));
      return missing.length > 5 && missing.slice(0, -1).every(pixels => Math.abs(pixels) < 3);
    }""")
    page.wait_for_function("""() => {
      scrollTo(0, document.body.scrollHeight);
      return document.querySelectorAll("#grid li").length > 200;
    }""")
    alts = page.locator("#grid img").evaluate_all("images => images.map(image => image.alt)")
    assert len(set(alts)) == len(alts)


def test_a_word_lights_up_its_regions_and_a_region_its_word(page):
    page.goto("/?q=a+dog+on+grass")
    first(page, "dog.jpg")
    lit = page.locator("#grid rect.picked")
    page.locator("#legend button", has_text="grass").hover()
    expect(lit.nth(10)).to_be_attached()
    assert set(lit.evaluate_all("all => all.map(one => one.dataset.word)")) == {"grass"}
    page.locator("#status").hover()
    expect(lit).to_have_count(0)
    page.locator("#grid li:nth-child(2) .open").click()
    expect(page.locator("#large img")).to_have_js_property("complete", True)
    region = page.locator("#large rect").nth(1)
    box = region.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] - 3)
    word = region.get_attribute("data-word")
    expect(page.locator("#large rect.picked")).to_have_attribute("data-word", word)
    expect(page.locator("#large button.word.lit")).to_have_attribute("data-word", word)


def test_a_photo_opens_large_and_back_closes_it(page):
    page.goto("/?q=a+dog+on+grass")
    first(page, "dog.jpg")
    page.locator("#grid li:first-child .open").click()
    large = page.locator("#lightbox")
    expect(large.locator("h2")).to_have_text("dog.jpg")
    expect(page).to_have_url(re.compile("photo=dog.jpg"))
    for told in ("400 × 300 pixels", "German shepherd", "GPL-3"):
        expect(large).to_contain_text(told)
    page.keyboard.press("ArrowRight")
    expect(large.locator("h2")).to_have_text("pig.jpg")
    expect(page).to_have_url(re.compile("photo=pig.jpg"))  # the browser has kept it, and a reload comes back to it
    page.reload()
    expect(large.locator("h2")).to_have_text("pig.jpg")
    page.go_back()
    expect(large).to_be_hidden()
    expect(page).not_to_have_url(re.compile("photo="))


def test_more_like_this_and_without_this(page):
    page.goto("/?q=a+dog+on+grass&photo=dog.jpg")
    page.get_by_role("button", name="More like this").click()
    chip(page, "like dog.jpg")
    first(page, "dog.jpg")
    expect(page).to_have_url(re.compile("like=dog.jpg"))
    page.go_back()
    page.get_by_role("button", name="Without this").click()
    chip(page, "unlike dog.jpg")
    expect(page.locator("#grid img").first).not_to_have_attribute("alt", "dog.jpg")
    page.get_by_role("button", name="Remove unlike dog.jpg").click()
    first(page, "dog.jpg")


def test_the_keyboard_alone_suffices(page):
    def focused(*ids):
        page.wait_for_function(
            """ids => {
              const at = document.activeElement;
              return ids.includes(at.closest("li")?.querySelector("img").alt ?? at.id);
            }""",
            arg=ids,
        )

    page.goto("/?q=a+dog+on+grass")
    first(page, "dog.jpg")
    focused("q")
    page.keyboard.press("ArrowDown")
    focused("dog.jpg")
    page.keyboard.press("ArrowRight")
    focused("pig.jpg")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    focused("dog.jpg", "pig.jpg", "sheep.jpg")
    page.keyboard.press("Enter")
    expect(page.locator("#lightbox")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#lightbox")).to_be_hidden()
    focused("dog.jpg", "pig.jpg", "sheep.jpg")
    page.keyboard.press("/")
    focused("q")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#help")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser, server, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with context(browser, server, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce") as profile:
        page = profile.new_page()
        for address, ready in (
            ("/?q=a+dog+on+grass&without=snow&filter=width%3Arange%3A200%3A", "#grid img.here"),
            ("/?q=a+dog+on+grass&photo=dog.jpg", "#large .parts"),
        ):
            page.goto(address)
            page.locator(ready).first.wait_for()
            found = Axe().run(page).response["violations"]
            grave = [one for one in found if one["impact"] in ("serious", "critical")]
            assert [(one["id"], one["nodes"][0]["html"]) for one in grave] == []


@pytest.mark.parametrize("width", [400, 1280, 2560])
def test_nothing_is_wider_than_the_screen(browser, server, width):
    with context(browser, server, viewport={"width": width, "height": 800}) as profile:
        page = profile.new_page()
        for address, ready in (("/?q=a+dog", "#grid img.here"), ("/?q=a+dog&photo=dog.jpg", "#large .parts")):
            page.goto(address)
            page.locator(ready).first.wait_for()
            page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")
