"""A page elsewhere must not read a collection, nor change anything."""

from __future__ import annotations

import pytest
from shan_engine.base.errors import InputError
from shan_web.app import App
from shan_web.safety import PAGE_TOKEN, Access, is_loopback
from shan_web.server import check_token
from starlette.testclient import TestClient

TOKEN = "0123456789abcdef"


def at(app, host="127.0.0.1:8750"):
    return TestClient(app.asgi(), base_url=f"http://{host}")


@pytest.fixture
def guarded(galleries, tmp_path):
    return App(galleries, Access.to("0.0.0.0", TOKEN), tmp_path / "cache", can_open=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8750", "localhost:8750", "[::1]:8750", "LOCALHOST"])
def test_this_machine_is_served(app, host):
    assert at(app).get("/api/galleries", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.5:8750", "", "localhost:8750@x"])
def test_other_names_for_this_machine_are_refused(app, host):
    assert at(app).get("/api/galleries", headers={"host": host}).status_code == 421


def test_a_proxys_name_is_served_to_those_with_the_token(galleries, tmp_path):
    behind = App(galleries, Access.to("127.0.0.1", TOKEN, ["Photos.example.org"]), tmp_path / "cache", can_open=False)
    known = {"host": "photos.example.org", "origin": "https://photos.example.org"}
    assert at(behind).get("/api/galleries", headers=known).status_code == 401
    assert at(behind).get("/api/galleries", headers=known | {"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert at(behind).get("/api/galleries", headers={"host": "example.org"}).status_code == 421


def test_a_proxys_name_needs_a_token_and_must_be_a_name():
    with pytest.raises(InputError, match=r"other machines reach photos\.example\.org, so the page needs a token"):
        check_token("127.0.0.1", "", ["photos.example.org"])
    for wrong in ("https://photos.example.org", "photos.example.org:443", ""):
        with pytest.raises(InputError, match="is not a host name"):
            check_token("127.0.0.1", TOKEN, [wrong])


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_pages_elsewhere_are_refused(app, headers):
    for route in ("/api/search?q=dog", "/api/thumbnail?id=dog.jpg", "/api/original?id=dog.jpg"):
        assert at(app).get(route, headers=headers).status_code == 403


def test_a_link_from_elsewhere_opens_the_page_alone(app):
    from_elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert at(app).get("/", headers=from_elsewhere).status_code == 200


def test_what_changes_something_needs_the_pages_token(app, monkeypatch):
    opened = []
    monkeypatch.setattr("shan_web.app.open_folder", opened.append)
    client = TestClient(app.asgi(), base_url="http://127.0.0.1:8750", client=("127.0.0.1", 1))
    for headers in ({}, {PAGE_TOKEN: "wrong"}, {"authorization": "Bearer wrong"}):
        assert client.post("/api/open?id=dog.jpg", headers=headers).status_code == 403
    assert opened == []
    token = client.get("/").text.split('name="token" content="')[1].split('"')[0]
    assert client.post("/api/open?id=dog.jpg", headers={PAGE_TOKEN: token}).status_code == 200
    assert [path.name for path in opened] == ["dog.jpg"]


def test_folders_are_opened_for_this_machine_alone(app, guarded, monkeypatch):
    monkeypatch.setattr("shan_web.app.open_folder", lambda path: pytest.fail("opened"))
    away = TestClient(app.asgi(), base_url="http://127.0.0.1:8750", client=("192.168.1.7", 1))
    assert away.post("/api/open?id=dog.jpg", headers={PAGE_TOKEN: app.access.page_token}).status_code == 403
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert at(guarded).post("/api/open?id=dog.jpg", headers=bearer).status_code == 403


def test_others_need_the_token_for_everything_but_the_empty_page(guarded):
    client = at(guarded, "192.168.1.5:8750")
    for route in ("/api/galleries", "/api/search?q=dog", "/api/thumbnail?id=dog.jpg", "/metrics", "/openapi.json"):
        assert client.get(route).status_code == 401
        assert client.get(route, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get(route, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.access.page_token not in client.get("/").text
    assert client.post("/api/session", headers={"authorization": "Bearer wrong"}).status_code == 401
    given = client.post("/api/session", headers={"authorization": f"Bearer {TOKEN}"})
    assert "HttpOnly" in given.headers["set-cookie"]
    assert "SameSite=strict" in given.headers["set-cookie"]
    assert TOKEN not in given.headers["set-cookie"]
    assert client.get("/api/galleries").status_code == 200
    assert guarded.access.page_token in client.get("/").text


def test_answers_bind_the_browser(client):
    for route in ("/", "/api/galleries", "/nothing", "/static/look.css"):
        headers = client.get(route).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
    assert "sandbox" in client.get("/api/original?id=dog.jpg").headers["content-security-policy"]


def test_a_token_is_demanded_where_others_reach_the_page():
    check_token("127.0.0.1", "")
    check_token("::1", "")
    for host in ("0.0.0.0", "::", "192.168.1.5", "my-nas"):
        assert not is_loopback(host)
        with pytest.raises(InputError, match="needs a token"):
            check_token(host, "")
    check_token("0.0.0.0", TOKEN)
    with pytest.raises(InputError, match="at least 16"):
        check_token("0.0.0.0", "short")


def test_a_websocket_is_closed(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass
