"""The house as a whole: its lifespan, its neighbours, its own pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message

from app.web.app import build_app
from app.web.endpoint import House
from tests.web.tiny import ABOUT, KEY, LIMITS, OPERATIONS, World, authenticate, client

SHOP = "https://shop.example"


def house(scratch: Path, *origins: str) -> House:
    return House(World(), authenticate, scratch, LIMITS, origins=origins)


async def test_the_lifespan_is_the_callers(tmp_path: Path) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    app = build_app(OPERATIONS, house=house(tmp_path), about=ABOUT, lifespan=lifespan)
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "state": {}}, receive, send)

    assert seen == ["up", "down"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_websockets_are_turned_away(tmp_path: Path) -> None:
    app = build_app(OPERATIONS, house=house(tmp_path), about=ABOUT)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/api/v1/pets", "headers": []}, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_the_callers_pages_stand_beside_the_operations(tmp_path: Path) -> None:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path, headers={"Content-Security-Policy": "default-src 'self'"})

    async with client(build_app(OPERATIONS, house=house(tmp_path), about=ABOUT, pages=[Route("/", page)])) as http:
        home = await http.get("/")
        pets = await http.get("/api/v1/pets", headers=KEY)

    assert (home.text, pets.status_code) == ("/", 200)
    assert home.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert home.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [((), SHOP, False), ((SHOP,), SHOP, True), ((SHOP,), "https://evil.example", False)],
)
async def test_other_sites_are_let_in_by_name_only(
    tmp_path: Path, origins: tuple[str, ...], origin: str, allowed: bool
) -> None:
    async with client(build_app(OPERATIONS, house=house(tmp_path, *origins), about=ABOUT)) as http:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "Authorization",
        }
        preflight = await http.options("/api/v1/pets", headers=asked)
        answer = await http.get("/api/v1/pets", headers=KEY | {"Origin": origin})
        refused = await http.get("/api/v1/pets/7", headers=KEY | {"Origin": origin})

    assert (preflight.status_code == 200) is allowed
    for response in (preflight, answer):
        assert (response.headers.get("access-control-allow-origin") == origin) is allowed
        assert "access-control-allow-credentials" not in response.headers
    assert refused.status_code == 404
    assert (refused.headers.get("access-control-allow-origin") == origin) is allowed
