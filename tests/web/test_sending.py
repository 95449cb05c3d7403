"""What leaves the house: values, headers, files, redirects, streams."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import ASGIApp, Message

from app.web.sending import disposition
from tests.web.tiny import KEY, World


async def test_a_reply_carries_headers_and_cookies(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/pets", headers=KEY, json={"kind": "cat", "name": "Tom"})

    assert response.status_code == 201
    assert response.headers["location"] == "/api/v1/pets/1"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {"id": "key_1", "name": "Tom", "tags": {}}


async def test_nothing_is_204_without_a_length(http: httpx.AsyncClient) -> None:
    response = await http.delete("/api/v1/pets/1", headers=KEY)

    assert (response.status_code, response.content) == (204, b"")
    assert "content-length" not in response.headers


async def test_a_file_is_kept_and_never_run(http: httpx.AsyncClient, world: World) -> None:
    response = await http.get("/api/v1/pets/1/content", headers=KEY)

    assert response.content == b"picture" * 1000
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-length"] == "7000"
    assert response.headers["content-disposition"] == 'attachment; filename="T_m_b_.png"'
    assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert world.closed.is_set()


async def test_a_file_that_cannot_be_read_is_a_problem(http: httpx.AsyncClient) -> None:
    response = await http.get("/api/v1/pets/broken/content", headers=KEY)

    assert (response.status_code, response.json()["detail"]) == (404, "The picture is gone.")


async def test_a_redirect_goes_where_it_says(http: httpx.AsyncClient) -> None:
    response = await http.get("/api/v1/pets/moved/content", headers=KEY)

    assert (response.status_code, response.headers["location"]) == (307, "https://cdn.example/pet")
    assert response.headers["cache-control"] == "no-store"


async def test_a_stream_or_a_page_by_what_is_accepted(http: httpx.AsyncClient) -> None:
    sse = KEY | {"Accept": "text/event-stream", "Last-Event-ID": "41"}

    stream = await http.get("/api/v1/pets/changes", headers=sse)
    page = await http.get("/api/v1/pets/changes", headers=KEY)

    assert stream.headers["content-type"] == "text/event-stream"
    assert "data: 41" in stream.text
    assert page.json()["data"][0]["name"] == "Tom"


async def test_a_download_ends_when_the_reader_is_gone(app: ASGIApp, world: World) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/pets/huge/content",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer good")],
    }
    await app(scope, receive, send)

    assert len(sent) < 10
    assert world.closed.is_set()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.png", "cat.png"),
        (None, "download"),
        ("", "download"),
        ("..", "download"),
        ("../../etc/passwd", "etc_passwd"),
        ('a";x="b', "a_x_b"),
        ("a\r\nX: y", "a_X_y"),
        ("Töpfe.png", "T_pfe.png"),
        ("x" * 300, "x" * 100),
    ],
)
def test_no_name_breaks_out_of_its_header(name: str | None, safe: str) -> None:
    assert disposition(name, inline=True) == f'inline; filename="{safe}"'


async def test_a_door_sees_raw_bytes_and_a_limit(http: httpx.AsyncClient) -> None:
    raw = await http.post("/api/hooks/fal/k1.tag", content=b"\0\xff", headers={"Content-Type": "nonsense"})
    large = await http.post("/api/hooks/fal/k1.tag", content=b"x" * 101)
    poor = await http.post("/api/hooks/poor/k1.tag")

    assert (raw.status_code, raw.content, raw.headers["content-type"]) == (200, b"\0\xff", "application/octet-stream")
    assert (large.status_code, poor.status_code) == (413, 402)
