"""Who a request says it is from, and which browsers are believed."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.core.errors import NotAuthenticated
from app.web.guards import cookie_name, credentials_of, headers_of, wait_of
from tests.web.tiny import KEY, READER, World, client, tiny_app

COOKIE = {"Cookie": "theme=dark; darkroom_session=session"}
CAT = {"kind": "cat", "name": "Tom"}


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer good", 200),
        ("bearer  good", 200),
        ("Bearer bad", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer good good", 401),
        ("Bearer g\u00f6\u00f6d", 401),
        ("Basic Z29vZDpnb29k", 401),
        ("good", 401),
    ],
)
async def test_a_key_comes_as_bearer(http: httpx.AsyncClient, authorization: str, status: int) -> None:
    response = await http.get("/api/v1/pets", headers={b"authorization": authorization.encode("latin-1")})

    assert response.status_code == status
    assert ("www-authenticate" in response.headers) == (status == 401)


async def test_two_keys_are_none(http: httpx.AsyncClient) -> None:
    headers = [("Authorization", "Bearer good"), ("Authorization", "Bearer reader")]

    response = await http.get("/api/v1/pets", headers=headers)

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "/header/authorization"


async def test_a_scope_comes_before_the_body(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/pets", headers=READER, content=b"not json")

    assert response.status_code == 403
    assert "jobs:write" in response.json()["detail"]


async def test_who_is_welcome_may_also_be_nobody(http: httpx.AsyncClient) -> None:
    nobody = await http.get("/api/v1/greeting")
    somebody = await http.get("/api/v1/greeting", headers=KEY)
    stranger = await http.get("/api/v1/greeting", headers={"Authorization": "Bearer bad"})

    assert (nobody.json()["id"], somebody.json()["id"], stranger.status_code) == ("nobody", "key_1", 401)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, 200),
        ("POST", {}, 403),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, 201),
        ("POST", {"Sec-Fetch-Site": "none"}, 201),
        ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site", "Origin": "http://tiny"}, 403),
        ("POST", {"Sec-Fetch-Site": ""}, 403),
        ("POST", {"Origin": "http://tiny"}, 201),
        ("POST", {"Origin": "http://tiny:81"}, 403),
        ("POST", {"Origin": "http://tiny.evil.example"}, 403),
        ("POST", {"Origin": "http://evil.example/http://tiny"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Origin": ""}, 403),
        ("POST", {"Referer": "http://tiny/"}, 403),
    ],
)
async def test_a_session_changes_things_from_our_own_pages_only(
    http: httpx.AsyncClient, method: str, headers: dict[str, str], status: int
) -> None:
    body = CAT if method == "POST" else None

    response = await http.request(method, "/api/v1/pets", headers=COOKIE | headers, json=body)

    assert response.status_code == status


async def test_a_key_needs_no_page(http: httpx.AsyncClient, world: World) -> None:
    response = await http.post("/api/v1/pets", headers=KEY | COOKIE | {"Sec-Fetch-Site": "cross-site"}, json=CAT)

    assert response.status_code == 201
    assert (world.asked[0].bearer, world.asked[0].session) == ("good", None)


async def test_on_https_only_the_host_cookie_counts(tmp_path: Path) -> None:
    async with client(tiny_app(tmp_path, secure=True)) as http:
        plain = await http.get("/api/v1/pets", headers=COOKIE)
        hosted = await http.get("/api/v1/pets", headers={"Cookie": "__Host-darkroom_session=session"})

    assert (plain.status_code, hosted.status_code) == (401, 200)


def test_two_sessions_are_none() -> None:
    headers = {b"cookie": b"darkroom_session=a; darkroom_session=b"}

    with pytest.raises(NotAuthenticated):
        credentials_of("GET", headers, secure=False)


def test_cookies_in_two_headers_are_one() -> None:
    headers = headers_of({"headers": [(b"cookie", b"darkroom_session=a"), (b"cookie", b"x=y")]})

    assert credentials_of("GET", headers, secure=False).session == "a"
    assert cookie_name(secure=False) == "darkroom_session"


async def test_no_secret_is_taken_from_an_address(http: httpx.AsyncClient) -> None:
    for word in ("ticket", "key", "session"):
        stream = await http.get(f"/api/v1/pets/changes?{word}=good&limit=3", headers={"Accept": "text/event-stream"})
        assert stream.status_code == 401


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=30", 30.0),
        ("Wait = 5", 5.0),
        ("respond-async, wait=60", 60.0),
        ("wait=0; strict", 0.0),
        ("wait=61", 60.0),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("await=5", None),
        ("wait", None),
    ],
)
def test_a_wish_to_wait(prefer: str, seconds: float | None) -> None:
    assert wait_of({b"prefer": prefer.encode()}) == seconds


async def test_a_granted_wish_is_said(http: httpx.AsyncClient) -> None:
    granted = await http.post("/api/v1/pets", headers=KEY | {"Prefer": "wait=5"}, json=CAT)
    in_part = await http.post("/api/v1/pets", headers=KEY | {"Prefer": "wait=500"}, json=CAT)
    ignored = await http.post("/api/v1/pets", headers=KEY | {"Prefer": "wait=-1"}, json=CAT)

    assert granted.headers["preference-applied"] == "wait=5"
    assert in_part.headers["preference-applied"] == "wait=60"
    assert "preference-applied" not in ignored.headers


@pytest.mark.parametrize(
    ("key", "status"),
    [("a", 201), ("x" * 255, 201), ("a b", 201), ("x" * 256, 422), ("", 422), ("ä", 422), ("a\tb", 422)],
)
async def test_an_idempotency_key_is_printable(http: httpx.AsyncClient, world: World, key: str, status: int) -> None:
    headers = {b"authorization": b"Bearer good", b"idempotency-key": key.encode("latin-1")}

    response = await http.post("/api/v1/pets", headers=headers, json=CAT)

    assert response.status_code == status
    assert [seen.key for seen in world.keys] == ([key] if status == 201 else [])


async def test_a_key_is_ignored_where_nothing_is_created(http: httpx.AsyncClient) -> None:
    response = await http.get("/api/v1/pets/1", headers=KEY | {"Idempotency-Key": "x" * 300})

    assert response.status_code == 200
