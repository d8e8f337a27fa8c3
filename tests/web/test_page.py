"""The page in a real browser: Debian's Chromium, driven by Playwright, against a server of its own process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from in_browser import CHROMIUM, first, status

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: the page is not tested in a browser")


def test_typing_searches_and_the_address_follows(page):
    page.goto("/")
    status(page, "254 photos, the newest first")
    page.keyboard.type("a dog on grass")
    first(page, "dog.jpg")
    status(page, "over 254 photos")
    assert page.url.endswith("/?gallery=demo&q=a+dog+on+grass")
    assert page.locator("#legend button").all_inner_texts() == ["dog", "grass"]
    page.reload()
    first(page, "dog.jpg")
    assert page.input_value("#q") == "a dog on grass"
    page.locator("#q").fill("a cat")
    first(page, "cat.jpg")
    page.locator("#q").fill("")
    status(page, "254 photos, the newest first")


def test_the_last_answer_wins(page):
    held = []

    def late(route):
        if "q=a%20cat" in route.request.url:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/search*", late)
    page.goto("/")
    page.locator("#q").fill("a cat")
    page.wait_for_function("() => document.getElementById('grid').classList.contains('stale')")
    page.locator("#q").fill("a dog on grass")
    first(page, "dog.jpg")
    for route in held:
        route.continue_()
    page.wait_for_timeout(500)
    first(page, "dog.jpg")


def test_the_grid_fills_its_rows_and_goes_on(page):
    page.goto("/?q=a+dog")
    first(page, "dog.jpg")
    rows = page.evaluate("""() => {
      const rows = {}, grid = document.getElementById("grid").getBoundingClientRect();
      for (const tile of document.querySelectorAll("#grid li")) {
        const box = tile.getBoundingClientRect();
        (rows[Math.round(box.top)] ??= []).push(box.right);
      }
      return Object.values(rows).map(ends => grid.right - Math.max(...ends));
    }""")
    assert len(rows) > 5
    assert all(abs(missing) < 3 for missing in rows[:-1])
    page.wait_for_function("""() => {
      scrollTo(0, document.body.scrollHeight);
      return document.querySelectorAll("#grid li").length > 200;
    }""")
    alts = page.locator("#grid img").evaluate_all("images => images.map(image => image.alt)")
    assert len(set(alts)) == len(alts)


def test_a_word_lights_up_its_regions_and_a_region_its_word(page):
    page.goto("/?q=a+dog+on+grass")
    first(page, "dog.jpg")
    page.locator("#legend button", has_text="grass").hover()
    assert page.locator("#grid rect.picked").count() > 10
    assert set(page.locator("#grid rect.picked").evaluate_all("all => all.map(one => one.dataset.word)")) == {"grass"}
    page.locator("#status").hover()
    assert page.locator("#grid rect.picked").count() == 0
    page.locator("#grid li:nth-child(2) .open").click()
    region = page.locator("#large rect").nth(1).bounding_box()
    page.mouse.move(region["x"] + region["width"] - 3, region["y"] + region["height"] - 3)
    page.locator("#large button.word.lit").wait_for()
    word = page.locator("#large button.word.lit").get_attribute("data-word")
    assert page.locator("#large rect.picked").get_attribute("data-word") == word


def test_a_photo_opens_large_and_back_closes_it(page):
    page.goto("/?q=a+dog+on+grass")
    first(page, "dog.jpg")
    page.locator("#grid li:first-child .open").click()
    large = page.locator("#lightbox")
    large.locator("h2", has_text="dog.jpg").wait_for()
    assert "photo=dog.jpg" in page.url
    told = large.inner_text()
    assert "400 × 300 pixels" in told
    assert "German shepherd" in told
    assert "GPL-3" in told
    page.keyboard.press("ArrowRight")
    large.locator("h2", has_text="pig.jpg").wait_for()
    page.reload()
    large.locator("h2", has_text="pig.jpg").wait_for()
    page.go_back()
    large.wait_for(state="hidden")
    assert "photo=" not in page.url


def test_more_like_this_and_without_this(page):
    page.goto("/?q=a+dog+on+grass&photo=dog.jpg")
    page.get_by_role("button", name="More like this").click()
    page.locator(".chip", has_text="like dog.jpg").wait_for()
    first(page, "dog.jpg")
    assert "like=dog.jpg" in page.url
    page.go_back()
    page.get_by_role("button", name="Without this").click()
    page.locator(".chip", has_text="unlike dog.jpg").wait_for()
    page.wait_for_function("() => document.querySelector('#grid img').alt !== 'dog.jpg'")
    page.get_by_role("button", name="Remove unlike dog.jpg").click()
    first(page, "dog.jpg")


def test_the_keyboard_alone_suffices(page):
    page.goto("/?q=a+dog+on+grass")
    first(page, "dog.jpg")
    focused = "document.activeElement.closest('li')?.querySelector('img').alt ?? document.activeElement.id"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "dog.jpg"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "pig.jpg"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) in ("dog.jpg", "pig.jpg", "sheep.jpg")
    page.keyboard.press("Enter")
    page.locator("#lightbox[open]").wait_for()
    page.keyboard.press("Escape")
    page.locator("#lightbox").wait_for(state="hidden")
    assert page.evaluate(focused) in ("dog.jpg", "pig.jpg", "sheep.jpg")
    page.keyboard.press("/")
    assert page.evaluate(focused) == "q"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#help[open]").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser, server, scheme):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(
        base_url=server.address, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    )
    page = context.new_page()
    for address, ready in (
        ("/?q=a+dog+on+grass&without=snow&filter=width%3Arange%3A200%3A", "#grid img.here"),
        ("/?q=a+dog+on+grass&photo=dog.jpg", "#large .parts"),
    ):
        page.goto(address)
        page.locator(ready).first.wait_for()
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    context.close()


@pytest.mark.parametrize("width", [400, 1280, 2560])
def test_nothing_is_wider_than_the_screen(browser, server, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, base_url=server.address)
    for address, ready in (("/?q=a+dog", "#grid img.here"), ("/?q=a+dog&photo=dog.jpg", "#large .parts")):
        page.goto(address)
        page.locator(ready).first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.close()
