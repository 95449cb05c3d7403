"""What every request gets, whatever happens to it."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from app.core.ids import derived
from app.web.middleware import STRICT_POLICY, Manners
from tests.web.tiny import KEY, READER, SECRET, client, tiny_app

ANSWERS = [
    ("GET", "/healthz", 200),
    ("GET", "/api/v1/pets", 200),
    ("HEAD", "/api/v1/pets", 200),
    ("GET", "/api/v1/pets/1/content", 200),
    ("GET", "/api/v1/pets/moved/content", 307),
    ("DELETE", "/api/v1/pets/1", 204),
    ("POST", "/api/hooks/fal/x", 200),
    ("POST", "/api/v1/pets", 415),
    ("GET", "/api/v1/pets/7", 404),
    ("GET", "/api/v1/pets/crash", 500),
    ("GET", "/api/v1/nothing", 404),
    ("GET", "/api/v1/pets/", 404),
    ("PUT", "/api/v1/pets", 405),
    ("GET", "/docs", 200),
    ("GET", "/docs/errors", 200),
    ("GET", "/docs/assets/docs.js", 200),
    ("GET", "/docs/assets/nothing.js", 404),
    ("GET", "/openapi.json", 200),
    ("POST", "/openapi.json", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_every_answer_has_an_id_and_the_security_headers(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await http.request(method, path, headers=KEY)

    assert response.status_code == status
    assert re.fullmatch(r"req_[0-9a-f]{20}", response.headers["x-request-id"])
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert response.headers["referrer-policy"] == "no-referrer"
    assert len(response.headers.get_list("content-security-policy")) == 1
    assert "strict-transport-security" not in response.headers
    if "/docs" not in path and "content" not in path:
        assert response.headers["content-security-policy"] == STRICT_POLICY
    if status >= 400 and method != "HEAD":
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["request_id"] == response.headers["x-request-id"]
        assert response.json()["status"] == status


async def test_https_is_remembered_only_when_it_is_public(tmp_path: Path) -> None:
    async with client(tiny_app(tmp_path, secure=True)) as http:
        response = await http.get("/healthz")

    assert response.headers["strict-transport-security"].startswith("max-age=31536000")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-1234", True),
        ("A.b_c-" * 10, True),
        ("short", False),
        ("x" * 65, False),
        ("has space", False),
        ("<script>alert(1)", False),
        ("line\nbreak", False),
        ("abcd1234\n", False),
        ("äöüäöüäöü", False),
    ],
)
async def test_a_callers_id_is_kept_when_it_is_harmless(http: httpx.AsyncClient, given: str, kept: bool) -> None:
    response = await http.get("/healthz", headers={b"x-request-id": given.encode()})

    assert (response.headers["x-request-id"] == given) is kept


async def test_a_crash_tells_the_caller_nothing_and_the_log_everything(http: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        response = await http.get("/api/v1/pets/crash", headers=KEY)

    assert response.json()["code"] == "internal"
    assert SECRET not in response.text
    assert "RuntimeError" not in response.text
    crash = next(line for line in lines if line["event"] == "crash")
    assert str(crash["exc_info"]) == SECRET


async def test_a_line_in_the_log_names_the_route_and_no_secret(http: httpx.AsyncClient) -> None:
    pet = derived("pet", "tom")
    seen: list[MutableMapping[str, Any]] = []

    def keep(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        seen.append(dict(line))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        await http.get(f"/api/v1/pets/{pet}?token={SECRET}", headers=KEY | {"X-Request-Id": "trace-0001"})
        await http.get(f"/api/v1/pets/{SECRET}", headers=KEY)
        await http.post(f"/api/hooks/fal/k1.{SECRET}")
        await http.get(f"/{SECRET}", headers={"Cookie": f"darkroom_session={SECRET}"})
    finally:
        structlog.configure(**before)

    assert SECRET not in str(seen)
    assert [line["route"] for line in seen] == [
        "/api/v1/pets/{pet}",
        "/api/v1/pets/{pet}",
        "/api/hooks/{who}/{word}",
        "(none)",
    ]
    assert (seen[0]["pet"], seen[0]["request_id"], seen[0]["status"]) == (pet, "trace-0001", 422)
    assert seen[0]["method"] == "GET"
    assert seen[0]["ms"] > 0


async def test_each_request_is_measured_by_its_route(tmp_path: Path) -> None:
    seen: list[tuple[str, str, int]] = []

    def observe(route: str, method: str, status: int, seconds: float) -> None:
        assert 0 < seconds < 10
        seen.append((route, method, status))

    async with client(tiny_app(tmp_path, manners=Manners(observe=observe))) as http:
        await http.get("/api/v1/pets/1", headers=KEY)
        await http.request("BREW", "/api/v1/pets/1", headers=KEY)
        await http.get("/docs/assets/docs.js")
        await http.get("/nowhere")
        await http.get("/api/v1/pets/crash", headers=KEY)

    assert seen == [
        ("/api/v1/pets/{pet}", "GET", 200),
        ("/api/v1/pets/{pet}", "OTHER", 405),
        ("/docs/assets", "GET", 200),
        ("(none)", "GET", 404),
        ("/api/v1/pets/{pet}", "GET", 500),
    ]


async def test_a_draining_process_takes_nothing_new_but_says_how_it_is(tmp_path: Path) -> None:
    draining = True
    async with client(tiny_app(tmp_path, manners=Manners(draining=lambda: draining))) as http:
        refused = await http.get("/api/v1/pets", headers=KEY)
        door = await http.post("/api/hooks/fal/x")
        healthy = await http.get("/healthz")
        draining = False
        taken = await http.get("/api/v1/pets", headers=KEY)

    assert (refused.status_code, door.status_code, healthy.status_code, taken.status_code) == (503, 503, 200, 200)
    assert refused.headers["connection"] == "close"
    assert (refused.json()["code"], refused.json()["retryable"]) == ("draining", True)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/v1/pets", "GET, HEAD, POST"),
        ("OPTIONS", "/api/v1/pets/1", "DELETE, GET, HEAD, PATCH"),
        ("HEAD", "/api/v1/pets/changes", "GET"),
        ("GET", "/api/hooks/fal/x", "POST"),
        ("HEAD", "/api/hooks/fal/x", "POST"),
        ("POST", "/docs", "GET, HEAD"),
    ],
)
async def test_a_405_lists_every_method_of_the_path(
    http: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    response = await http.request(method, path)

    assert (response.status_code, response.headers["allow"]) == (405, allow)


async def test_head_is_get_without_the_body(http: httpx.AsyncClient) -> None:
    for path in ("/api/v1/pets", "/api/v1/pets/1/content", "/api/v1/pets/7"):
        get = await http.get(path, headers=KEY)
        head = await http.head(path, headers=KEY)

        assert head.content == b""
        assert head.status_code == get.status_code
        assert head.headers["content-type"] == get.headers["content-type"]
        if get.status_code == 200:
            assert head.headers["content-length"] == get.headers["content-length"]


async def test_nothing_is_ever_redirected_for_a_slash(http: httpx.AsyncClient) -> None:
    for path in ("/api/v1/pets/", "/api/hooks/fal/x/", "//api/v1/pets", "/docs/"):
        assert (await http.get(path, headers=READER)).status_code == 404, path
