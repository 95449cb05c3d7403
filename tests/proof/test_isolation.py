"""Nobody can read, change, count or prove to exist what is another workspace's (promise I17): every operation of the
API, every place in it where an id may stand, every kind of id, every kind of key. Places and operations are read off
the API's description, so a new one joins by itself, and one that nobody has classified fails here. About 15 s."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import pytest
import pytest_asyncio
from sqlalchemy import text
from starlette.types import Message

from app.core.principal import EVERYTHING_IN_A_WORKSPACE, Scope
from app.health import Health
from app.main import document
from app.web.operation import Operation
from app.wiring import FEATURES, Wired
from tests.home import ORDER, Home, home_in
from tests.inside import newcomer, operator

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDS = {
    "job": "job",
    "run": "run",
    "asset": "asset",
    "key": "key",
    "owner": "job",
    "reference_images": "asset",
    "cursor": "cursor",
}
"""Names in paths, queries and bodies that take an id, and of what."""
FREE = {
    "model": "models are everybody's",
    "token": "the signed address is the permission",
    "ticket": "the ticket is the permission",
    "delivery": "only the operator may ask",
    "workspace": "only the operator may ask",
    "reason": "only the operator may ask",
    "input": "goes to fal as it is; pictures are not named in it",
    "text": "words",
    "metadata": "words",
    "types": "names of events",
    "name": "words",
    "url": "an address outside",
    "files": "bytes",
    "after": "a number in one's own log",
}
"""Names that take something else, and why nothing of another workspace can be meant."""
KEYS = ("owner", "reader", "operator", "revoked", "expired", "nobody")
TARGETS = ("foreign", "random", "malformed")
UNCHANGED_BUT = frozenset({"keys", "refusals", "watches"})
"""That a key was used, and that somebody watches what is their own."""


@dataclass(frozen=True)
class Place:
    """Where an id may stand in a request."""

    operation: Operation
    part: str
    name: str

    def __str__(self) -> str:
        return f"{self.operation.method} {self.operation.path} {self.part} {self.name}"


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Worlds:
    """Two workspaces with two of everything each, and keys to the first."""

    home: Home
    ours: Mapping[str, str]
    theirs: Mapping[str, str]
    keys: Mapping[str, str | None]


def operations() -> list[Operation]:
    health = Health(cast("Wired", None), lambda: False)
    return [*(operation for feature in FEATURES for operation in feature.operations), *health.operations]


def names_in(operation: Operation) -> Iterator[tuple[str, str]]:
    """Each name that takes text of the caller's choice, and whether it stands in the path, the query or the body."""
    described = _described()
    path = described["paths"][operation.address.replace(":path}", "}")][operation.method.lower()]
    for parameter in path.get("parameters", ()):
        if parameter["in"] != "header" and _takes_text(parameter["schema"]):
            yield parameter["in"], parameter["name"]
    for content in path.get("requestBody", {}).get("content", {}).values():
        for name in _leaves(content["schema"], described["components"]["schemas"]):
            yield "body", name


@cache
def _described() -> dict[str, Any]:
    return document()


def _leaves(schema: Mapping[str, Any], models: Mapping[str, Any], name: str = "") -> Iterator[str]:
    if "$ref" in schema:
        yield from _leaves(models[schema["$ref"].rpartition("/")[2]], models, name)
    for option in schema.get("anyOf", ()):
        yield from _leaves(option, models, name)
    if "properties" in schema:
        for field, below in schema["properties"].items():
            yield from _leaves(below, models, field)
    elif schema.get("type") == "array":
        yield from _leaves(schema["items"], models, name)
    elif schema.get("type") == "object" or _takes_text(schema):
        yield name


def _takes_text(schema: Mapping[str, Any]) -> bool:
    options = [*schema.get("anyOf", ()), schema.get("items", {}), schema]
    return any(o.get("type") == "string" and not {"enum", "const"} & o.keys() and not _is_time(o) for o in options)


def _is_time(schema: Mapping[str, Any]) -> bool:
    return schema.get("format") == "date-time"


PLACES = [
    Place(operation, part, name)
    for operation in sorted(operations(), key=lambda operation: operation.method == "DELETE")
    for part, name in dict.fromkeys(names_in(operation))
    if name in IDS and operation.scope is not Scope.OPERATOR
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worlds(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worlds]:
    async with home_in(tmp_path_factory.mktemp("worlds")) as home:
        settings = home.life.wired.settings
        theirs = replace(home, key=await asyncio.to_thread(newcomer, settings))
        keys = await _keys_of(home)
        yield Worlds(
            home,
            await _two_of_everything(home),
            await _two_of_everything(theirs),
            {**keys, "operator": await asyncio.to_thread(operator, settings), "nobody": None},
        )


async def _keys_of(home: Home) -> dict[str, str | None]:
    reading = [scope for scope in EVERYTHING_IN_A_WORKSPACE if scope.endswith(":read")]
    made: dict[str, dict[str, Any]] = {}
    async with home.client() as web:
        for name, scopes in (("reader", reading), ("revoked", None), ("expired", None)):
            body = {"name": name, "scopes": scopes, "expires_at": "2999-01-01T00:00:00Z"}
            made[name] = (await web.post("/api/v1/keys", json=body)).json()
        assert (await web.delete(f"/api/v1/keys/{made['revoked']['id']}")).status_code == 204
    past = "UPDATE keys SET expires_at = '2001-01-01 00:00:00.000000' WHERE id = :id"
    await home.services.db.write(lambda tx: tx.execute(text(past), {"id": made["expired"]["id"]}))
    return {"owner": home.key, **{name: each["key"] for name, each in made.items()}}


async def _two_of_everything(home: Home) -> dict[str, str]:
    """The newest by kind, and a cursor for each list."""
    found: dict[str, str] = {}
    for _ in range(2):
        waiting = await home.submitted()
        assert (await home.send(home.letter(waiting))).text == "accepted"
        found["job"] = (await home.ended(waiting.job))["id"]
        async with home.client() as web:
            found["run"] = (await web.post("/api/v1/runs", json={"jobs": [ORDER, ORDER]})).json()["id"]
            found["key"] = (await web.post("/api/v1/keys", json={"name": "one of two"})).json()["id"]
            found["asset"] = (await web.get("/api/v1/assets")).json()["data"][0]["id"]
    async with home.client() as web:
        for operation in operations():
            ours = operation.scope is not Scope.OPERATOR
            if ours and operation.method == "GET" and ("query", "cursor") in names_in(operation):
                page = (await web.get(operation.address, params={"limit": 1})).json()
                found[f"cursor {operation.address}"] = page["next_cursor"]
    assert all(found.values()), found
    return found


async def test_every_name_is_classified() -> None:
    """Add it to IDS, or to FREE with the reason."""
    unknown = {
        f"{o.id}: {name}" for o in operations() for _, name in names_in(o) if name not in IDS.keys() | FREE.keys()
    }

    assert unknown == set()


async def test_every_path_with_an_id_is_tried() -> None:
    tried = {place.operation.id for place in PLACES if place.part == "path"}
    free = {"get_model", "get_signed_file", "redrive_delivery"}

    assert tried | free == {operation.id for operation in operations() if operation.contract.path}


@pytest.mark.parametrize("operation", [o for o in operations() if o.scope is Scope.OPERATOR], ids=lambda o: o.id)
async def test_what_is_the_operators_is_nobody_elses(worlds: Worlds, operation: Operation) -> None:
    for who in set(KEYS) - {"operator"}:
        answer = await _head_and_body(worlds, Place(operation, "path", "delivery"), who, "delivery_x", "*/*")
        assert answer.status == (401 if who in {"revoked", "expired", "nobody"} else 403), who


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_what_is_theirs_is_as_if_it_were_not_there(worlds: Worlds, place: Place) -> None:
    before = worlds.home.tables(UNCHANGED_BUT)

    for who in KEYS:
        found = {target: await _ask(worlds, place, who, target) for target in TARGETS}
        assert found["foreign"] == found["random"], who
        assert found["malformed"].status in {found["random"].status, 422}
        if who in {"revoked", "expired", "nobody"}:
            assert found["foreign"].status == 401
        elif who == "reader" and place.operation.scope not in _reading():
            assert found["foreign"].status == 403
        elif place.part == "path":
            assert found["foreign"].status == 404
        else:
            assert _tells_nothing(found["foreign"])

    assert worlds.home.tables(UNCHANGED_BUT) == before
    watched = {row["topic"] for row in worlds.home.rows("SELECT topic FROM watches")}
    assert watched & set(worlds.theirs.values()) == set()


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_what_is_ours_is_there(worlds: Worlds, place: Place) -> None:
    """Otherwise nothing is proved. Comes after the others, because it changes what it finds."""
    answer = await _ask(worlds, place, "owner", "own")

    assert answer.status in {200, 201, 202, 204, 206, 409}, answer


def _tells_nothing(answer: Answered) -> bool:
    """An empty list, a stream that begins, or a refusal that names the place."""
    if answer.status == 422:
        return True
    return answer.status == 200 and (not answer.body or json.loads(answer.body)["data"] == [])


def _reading() -> set[Scope]:
    return {scope for scope in EVERYTHING_IN_A_WORKSPACE if scope.endswith(":read")}


async def _ask(worlds: Worlds, place: Place, who: str, target: str) -> Answered:
    """Without what names the request itself or repeats the id."""
    id_ = _id(worlds, place, target)
    answers = [await _head_and_body(worlds, place, who, id_, accept) for accept in _accepts(place.operation)]
    body = "".join(answer.body for answer in answers).replace(id_[:40], "ID").replace(id_, "ID")
    return replace(answers[-1], body=body)


def _accepts(operation: Operation) -> list[str]:
    answer = operation.contract.answer
    json_ = [] if answer.streams and answer.adapter is None else ["application/json"]
    return json_ + (["text/event-stream"] if answer.streams else [])


def _id(worlds: Worlds, place: Place, target: str) -> str:
    kind = IDS[place.name]
    known = f"cursor {place.operation.address}" if kind == "cursor" else kind
    if target == "own":
        return worlds.ours[known]
    if target == "foreign":
        return worlds.theirs[known]
    if target == "malformed":
        return "x" * 300
    return "A" * len(worlds.theirs[known]) if kind == "cursor" else worlds.home.services.ids.new(kind)


async def _head_and_body(worlds: Worlds, place: Place, who: str, id_: str, accept: str) -> Answered:
    """Asked of the application itself; a stream is left when it has begun."""
    operation, key = place.operation, worlds.keys[who]
    path, query, body = operation.address, b"", b""
    for name in operation.contract.path:
        path = path.replace(f"{{{name}}}", id_ if name == place.name else worlds.ours[IDS[name]])
    if place.part == "query":
        query = f"{place.name}={id_}".encode()
    headers = [(b"host", b"localhost"), (b"accept", accept.encode())]
    if key is not None:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    if operation.contract.body is not None:
        edit = {"model": "fal-ai/nano-banana/edit", "input": {"prompt": "a cat"}, "reference_images": [id_]}
        body = json.dumps({"jobs": [edit]} if operation.id == "create_run" else edit).encode()
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": operation.method, "path": path, "query_string": query, "headers": headers}
    return await _exchange(worlds.home, scope, body)


async def _exchange(home: Home, scope: dict[str, Any], body: bytes) -> Answered:
    said: list[Message] = []
    begun, gone = asyncio.Event(), asyncio.Event()
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await gone.wait()
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        said.append(message)
        begun.set()

    running = asyncio.ensure_future(home.app(scope, receive, send))
    await begun.wait()
    headers = {name.decode(): value.decode() for name, value in said[0]["headers"]}
    if headers.get("content-type", "").startswith("text/event-stream"):
        gone.set()
    await running
    content = b"".join(message.get("body", b"") for message in said[1:]).decode("latin-1")
    if headers.get("content-type", "").startswith("text/event-stream"):
        content = ""
    elif content.startswith("{"):
        content = json.dumps({name: value for name, value in json.loads(content).items() if name != "request_id"})
    unlike = {"x-request-id", "content-length", "date"}
    return Answered(said[0]["status"], {k: v for k, v in headers.items() if k not in unlike}, content)
