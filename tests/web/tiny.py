"""A little service made of nothing but the toolkit: what every test here talks to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from app.core.errors import PROBLEMS, Conflict, NotAuthenticated, NotEnoughCredits, NotFound, Problem
from app.core.events import Event
from app.core.idempotency import IdempotencyKey
from app.core.paging import Page
from app.core.principal import Principal, Scope
from app.web.app import build_app
from app.web.endpoint import House
from app.web.guards import Credentials, Limits
from app.web.middleware import Manners
from app.web.openapi import About
from app.web.operation import Answer, Door, Download, Knock, Operation, Redirect, Reply, Stream, Upload

KEY = {"Authorization": "Bearer good"}
READER = {"Authorization": "Bearer reader"}
SECRET = "hunter2-hunter2"


@dataclass
class World:
    """What the tiny handlers may touch."""

    uploads: list[list[Path]] = field(default_factory=list)
    asked: list[Credentials] = field(default_factory=list)
    keys: list[IdempotencyKey] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class Incoming(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"kind": "cat", "name": "Tom"}]})


class Cat(Incoming):
    kind: Literal["cat"]
    name: str = Field(min_length=1, max_length=40)
    lives: int = Field(9, ge=0, le=9)


class Dog(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["dog"]
    tricks: list[str] = Field(default=[], max_length=5)
    owner: Owner | None = None


class Owner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    phone: str = Field(max_length=12, pattern=r"^[0-9]+$")


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class PetView(BaseModel):
    """A pet as it is kept."""

    id: str
    name: str
    tags: dict[str, str] = {}


class Found(BaseModel, extra="forbid"):
    limit: int = Field(20, ge=1, le=100, description="How many at most.")
    name: list[str] = []
    order: Literal["new", "old"] = "new"


class Album(BaseModel, extra="forbid"):
    title: str = Field(min_length=1)
    files: list[Upload] = Field(min_length=1, max_length=3)
    cover: Upload | None = None


class AlbumView(BaseModel):
    title: str
    names: list[str]
    sizes: list[int]
    types: list[str]


class PetFed(Event):
    """A pet was fed."""

    type: ClassVar[str] = "pet.fed"
    pet: str = Field(description="The id of the pet.")


class PetGone(Event):
    """A pet has left <us>."""

    type: ClassVar[str] = "pet.gone"


class HouseFull(Conflict):
    """No more pets fit in"""

    slug = "house-full"


class Surprise(Problem):
    """Too <b>many</b> pets & friends"""

    slug, status, retryable = "surprise", 418, True


class Tail:
    """A stream of one event."""

    def __init__(self, after: str | None) -> None:
        self._after = after

    async def serve(self, scope: Connection, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        frame = f"id: 1\nevent: pet.fed\ndata: {self._after}\n\n".encode()
        await send({"type": "http.response.body", "body": frame, "more_body": False})


async def create_pet(
    body: Pet, principal: Principal, services: World, idempotency: IdempotencyKey | None, wait: float | None
) -> Reply[PetView]:
    """Take in a pet.

    It stays until it leaves.
    """
    if idempotency:
        services.keys.append(idempotency)
    if isinstance(body, Dog):
        raise HouseFull("Try a cat.", errors=())
    headers = {"Location": "/api/v1/pets/1"} | ({"Preference-Applied": f"wait={wait:g}"} if wait is not None else {})
    return Reply(PetView(id=principal.actor, name=body.name), headers=headers, cookies=("a=1", "b=2"))


async def list_pets(query: Found, principal: Principal) -> Page[PetView]:
    """List pets"""
    names = query.name or ["Tom"]
    return Page(data=[PetView(id="1", name=name) for name in names[: query.limit]], has_more=False)


async def get_pet(pet: str, principal: Principal) -> PetView:
    if pet == "crash":
        raise RuntimeError(SECRET)
    if pet != "1":
        raise NotFound
    return PetView(id=pet, name="Tom")


async def change_pet(pet: str, body: Cat | None, principal: Principal) -> PetView:
    return PetView(id=pet, name=body.name if body else "unchanged")


async def forget_pet(pet: str, principal: Principal) -> None:
    """Let a pet go"""


async def add_album(
    form: Album, services: World, principal: Principal, idempotency: IdempotencyKey | None
) -> AlbumView:
    if idempotency:
        services.keys.append(idempotency)
    files = [*form.files, *([form.cover] if form.cover else [])]
    services.uploads.append([file.path for file in files])
    assert all(file.path.stat().st_size == file.size for file in files)
    if form.title == "crash":
        raise RuntimeError(SECRET)
    return AlbumView(
        title=form.title,
        names=[file.filename for file in files],
        sizes=[file.size for file in files],
        types=[file.content_type for file in files],
    )


async def download_pet(pet: str, services: World, principal: Principal) -> Download | Redirect:
    if pet == "moved":
        return Redirect("https://cdn.example/pet", headers={"Cache-Control": "no-store"})

    async def chunks() -> AsyncIterator[bytes]:
        try:
            if pet == "broken":
                raise NotFound("The picture is gone.")
            for _ in range(1_000_000 if pet == "huge" else 1):
                yield b"picture" * 1000
            if pet == "torn":
                raise RuntimeError(SECRET)
        finally:
            services.closed.set()

    size = {"huge": None, "torn": 9000}.get(pet, 7000)
    return Download(chunks(), "image/png", size=size, filename='../"Töm"\r\n<b>.png')


async def follow_pets(
    query: Found, accept: str, last_event_id: str | None, principal: Principal
) -> Page[PetView] | Stream:
    if "text/event-stream" in accept:
        return Tail(last_event_id)
    return await list_pets(query, principal)


async def greet(principal: Principal | None) -> PetView:
    return PetView(id=principal.actor if principal else "nobody", name="you")


async def knock(services: World, knock: Knock) -> Answer:
    if knock.path["who"] == "poor":
        raise NotEnoughCredits
    return Answer(200, await knock.read(100), "application/octet-stream")


async def health() -> PetView:
    return PetView(id="1", name="alive")


OPERATIONS = (
    Operation(
        "POST", "/pets", create_pet, 201, raises=(HouseFull,), scope=Scope.JOBS_WRITE, resource="pet", idempotent=True
    ),
    Operation("GET", "/pets", list_pets, scope=Scope.JOBS_READ),
    Operation("GET", "/pets/{pet}", get_pet, scope=Scope.JOBS_READ, resource="pet"),
    Operation("PATCH", "/pets/{pet}", change_pet, scope=Scope.JOBS_WRITE, resource="pet"),
    Operation("DELETE", "/pets/{pet}", forget_pet, scope=Scope.JOBS_WRITE, resource="pet"),
    Operation("GET", "/pets/{pet}/content", download_pet, scope=Scope.JOBS_READ, resource="pet", media=("image/png",)),
    Operation("GET", "/pets/changes", follow_pets, scope=Scope.EVENTS_READ),
    Operation("POST", "/albums", add_album, 201, scope=Scope.ASSETS_WRITE, idempotent=True),
    Operation("GET", "/greeting", greet),
    Operation("GET", "/healthz", health, absolute=True, tag="health"),
)
DOORS = (Door("POST", "/api/hooks/{who}/{word}", knock),)
EVENTS = (PetFed, PetGone)
ABOUT = About("Tiny <service>", "1.2.3", tags={"pets": "Cats, mostly."}, problems=(*PROBLEMS, HouseFull, Surprise))
LIMITS = Limits(body=20_000, form=60_000, file=30_000, files=4, field=1_000, fields=4)


async def authenticate(services: World, credentials: Credentials) -> Principal:
    services.asked.append(credentials)
    word = credentials.bearer or credentials.session
    if word in {"good", "session"}:
        return Principal("ws_1", "key_1", frozenset(Scope))
    if word == "reader":
        return Principal("ws_1", "key_2", frozenset({Scope.JOBS_READ}))
    raise NotAuthenticated


def tiny_app(
    scratch: Path, world: World | None = None, *, manners: Manners | None = None, secure: bool = False
) -> ASGIApp:
    house = House(world or World(), authenticate, scratch, LIMITS, secure)
    return build_app(OPERATIONS, DOORS, house=house, about=ABOUT, events=EVENTS, manners=manners)


def client(app: ASGIApp, *, base_url: str = "http://tiny") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base_url)
