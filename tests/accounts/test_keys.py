"""Keys over HTTP: who may make which, and how soon one stops."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from app.accounts import authentication
from app.accounts.authentication import BELIEVED_FOR
from app.accounts.keys import create_key, new_row, revoke_key
from app.accounts.model import SYSTEM, KeyRow, SessionRow
from app.accounts.secrets import key_id, new_key
from app.core.principal import Principal, Scope
from app.main import application
from app.services import Services
from app.store.columns import table
from app.store.write import Tx
from tests.accounts.conftest import Door
from tests.serving import serving
from tests.subscriber import subscribed
from tests.waiting import until

STREAM = {"Accept": "text/event-stream"}


async def test_me_says_whose_the_key_is_and_what_it_may(door: Door) -> None:
    me = (await door.http.get("/api/v1/me", headers=door.showing(door.key))).json()
    assert me["workspace"]["name"] == "development"
    assert me["actor"] == key_id(door.key)
    assert "keys:write" in me["scopes"]
    assert "operator" not in me["scopes"]


async def test_a_new_key_works_is_shown_once_and_is_kept_nowhere(door: Door) -> None:
    made = await door.http.post("/api/v1/keys", json={"name": "import"}, headers=door.showing(door.key))
    assert made.status_code == 201
    text = made.json()["key"]
    assert await door.ask(text) == 200
    listed = (await door.http.get("/api/v1/keys", headers=door.showing(door.key))).text
    assert made.json()["id"] in listed
    assert text not in listed
    assert text.split("_")[3] not in listed
    secret = text.split("_")[3].encode()
    kept = [f for f in door.life.wired.settings.home.iterdir() if f.is_file() and f.name != "dev-key"]
    assert [f.name for f in kept if secret in f.read_bytes()] == []


async def test_an_idempotency_key_makes_one_key_and_shows_it_once(door: Door) -> None:
    headers = {**door.showing(door.key), "Idempotency-Key": "once"}
    first = (await door.http.post("/api/v1/keys", json={"name": "a"}, headers=headers)).json()
    again = await door.http.post("/api/v1/keys", json={"name": "a"}, headers=headers)
    assert (again.status_code, again.headers.get("idempotent-replayed")) == (201, "true")
    assert again.json() == first | {"key": None}
    other = await door.http.post("/api/v1/keys", json={"name": "b"}, headers=headers)
    assert other.status_code == 422
    assert len((await door.http.get("/api/v1/keys", headers=door.showing(door.key))).json()["data"]) == 2


async def test_the_answer_outlives_the_key_it_told_of(door: Door) -> None:
    """By now the same request would be refused: the time it names has passed."""
    ends = datetime.now(UTC) + timedelta(seconds=0.5)
    body = {"name": "brief", "expires_at": ends.isoformat()}
    headers = {**door.showing(door.key), "Idempotency-Key": "brief"}
    first = await door.http.post("/api/v1/keys", json=body, headers=headers)
    assert (first.status_code, first.headers.get("idempotent-replayed")) == (201, None)
    await until(lambda: datetime.now(UTC) > ends)

    again = await door.http.post("/api/v1/keys", json=body, headers=headers)
    assert (again.status_code, again.headers.get("idempotent-replayed")) == (201, "true")
    assert again.json() == first.json() | {"key": None}
    assert (await door.http.post("/api/v1/keys", json=body, headers=door.showing(door.key))).status_code == 422


async def test_twins_at_once_make_one_key_and_one_of_them_is_shown_it(door: Door) -> None:
    headers = {**door.showing(door.key), "Idempotency-Key": "twins"}
    asked = [door.http.post("/api/v1/keys", json={"name": "twin"}, headers=headers) for _ in range(10)]
    answers = await asyncio.gather(*asked)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    shown = [answer.headers.get("idempotent-replayed") for answer in answers if answer.json()["key"]]
    assert shown == [None]


async def test_a_key_never_grants_more_than_it_has(door: Door) -> None:
    wanted = {"name": "small", "scopes": ["jobs:read", "keys:write"]}
    small = (await door.http.post("/api/v1/keys", json=wanted, headers=door.showing(door.key))).json()["key"]
    for scopes in (["jobs:write"], ["operator"], ["jobs:read", "money:write"]):
        refused = await door.http.post(
            "/api/v1/keys", json={"name": "x", "scopes": scopes}, headers=door.showing(small)
        )
        assert refused.status_code == 403
        assert refused.json()["code"] == "forbidden"
    same = await door.http.post("/api/v1/keys", json={"name": "x"}, headers=door.showing(small))
    assert same.json()["scopes"] == ["jobs:read", "keys:write"]


async def test_without_keys_write_keys_cannot_even_be_listed(door: Door) -> None:
    wanted = {"name": "reader", "scopes": ["jobs:read"]}
    reader = (await door.http.post("/api/v1/keys", json=wanted, headers=door.showing(door.key))).json()["key"]
    assert (await door.http.get("/api/v1/keys", headers=door.showing(reader))).status_code == 403


async def test_a_revoked_key_stops_within_a_second(door: Door) -> None:
    made = (await door.http.post("/api/v1/keys", json={"name": "x"}, headers=door.showing(door.key))).json()
    assert await door.ask(made["key"]) == 200
    assert (await door.http.delete(f"/api/v1/keys/{made['id']}", headers=door.showing(door.key))).status_code == 204

    async def refused() -> bool:
        return await door.ask(made["key"]) == 401

    await until(refused, within=BELIEVED_FOR + 0.5)
    assert (await door.http.delete(f"/api/v1/keys/{made['id']}", headers=door.showing(door.key))).status_code == 404


async def test_a_revoked_keys_open_stream_ends_within_two_seconds(door: Door) -> None:
    made = (await door.http.post("/api/v1/keys", json={"name": "x"}, headers=door.showing(door.key))).json()
    async with (
        serving(application(door.life)) as port,
        subscribed(port, "/api/v1/events", headers=STREAM | door.showing(made["key"])) as revoked,
        subscribed(port, "/api/v1/events", headers=STREAM | door.showing(door.key)) as other,
    ):
        await revoked.until_text(b"retry: ")
        await door.http.delete(f"/api/v1/keys/{made['id']}", headers=door.showing(door.key))

        (closed,) = await revoked.until_over(within=2.5)
        assert (closed.type, closed.json["code"]) == ("stream.closed", "not-authenticated")
        assert not other.over


async def test_a_key_that_expires_takes_its_open_stream_with_it(door: Door) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    wanted = {"name": "x", "expires_at": soon}
    made = (await door.http.post("/api/v1/keys", json=wanted, headers=door.showing(door.key))).json()
    async with (
        serving(application(door.life)) as port,
        subscribed(port, "/api/v1/events", headers=STREAM | door.showing(made["key"])) as here,
    ):
        (closed,) = await here.until_over(within=4)
        assert closed.json["code"] == "not-authenticated"


async def test_a_signed_out_browser_hears_no_more(door: Door) -> None:
    cookie = (await door.http.get(await door.link())).headers["set-cookie"].partition(";")[0]
    async with (
        serving(application(door.life)) as port,
        subscribed(port, "/api/v1/events", headers=STREAM | {"Cookie": cookie}) as stream,
    ):
        await stream.until_text(b"retry: ")
        at = door.services.clock.now()
        await door.services.db.write(lambda tx: tx.execute(update(table(SessionRow)).values(ended_at=at)))
        (closed,) = await stream.until_over(within=2.5)
        assert closed.json["code"] == "not-authenticated"


async def test_looking_at_rights_again_is_one_read_a_second_for_all_pages(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = door.services.db.read

    def counted() -> object:
        nonlocal reads
        reads += 1
        return read()

    monkeypatch.setattr(door.services.db, "read", counted)
    principal = Principal("ws", str(key_id(door.key)), frozenset())
    began = door.services.clock.monotonic()
    for _ in range(5):
        await asyncio.gather(*(door.services.recheck(principal) for _ in range(20)))
    assert reads <= 1 + (door.services.clock.monotonic() - began) / BELIEVED_FOR


async def test_a_key_does_not_revoke_itself(door: Door) -> None:
    refused = await door.http.delete(f"/api/v1/keys/{key_id(door.key)}", headers=door.showing(door.key))
    assert refused.status_code == 409


async def test_unknown_revoked_expired_and_malformed_keys_are_answered_alike(door: Door) -> None:
    now = datetime.now(UTC)
    texts = {name: new_key(door.services.ids.new("key"), door.services.ids.secret(), live=False) for name in "ure"}
    rows = [
        new_row(
            str(key_id(texts[name].text)), texts[name], workspace=None, name=name, scopes=set(Scope), now=now,
            expires_at=now - timedelta(seconds=1) if name == "e" else None,
        )
        for name in "re"
    ]  # fmt: skip

    def prepare(tx: Tx) -> None:
        for row in rows:
            create_key(tx, row)
        revoke_key(tx, SYSTEM, rows[0].id)

    await door.services.db.write(prepare)
    forged = new_key(str(key_id(door.key)), door.services.ids.secret(), live=False).text
    answers = []
    for text in (texts["u"].text, texts["r"].text, texts["e"].text, forged, "dk_live_nonsense", door.key[:-1] + "!"):
        answer = await door.http.get("/api/v1/me", headers=door.showing(text.replace("!", "A")))
        assert answer.status_code == 401
        answers.append({**answer.json(), "request_id": ""})
    assert all(answer == answers[0] for answer in answers)


async def test_a_key_in_heavy_use_costs_no_query(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await door.ask(door.key) == 200
    reads = 0
    read = door.services.db.read

    def counted() -> object:
        nonlocal reads
        reads += 1
        return read()

    monkeypatch.setattr(door.services.db, "read", counted)
    await asyncio.gather(*(door.ask(door.key) for _ in range(20)))
    assert reads <= 20 + 1  # /me itself reads; the key is looked up at most once more


async def test_those_who_come_at_once_are_looked_up_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []
    find = authentication._by_key

    async def counted(services: Services, text: str) -> Principal:
        looked_up.append(text)
        return await find(services, text)

    monkeypatch.setattr(authentication, "_by_key", counted)
    assert await asyncio.gather(*(door.ask(door.key) for _ in range(20))) == [200] * 20
    assert looked_up == [door.key]


async def test_its_last_use_is_noted_but_not_each_time(door: Door) -> None:
    async def noted() -> datetime | None:
        async with door.services.db.read() as session:
            return (await session.get_one(KeyRow, key_id(door.key))).last_used_at

    await door.ask(door.key)
    first = await until(noted)
    await door.ask(door.key)
    await door.services.db.check()  # a later write has come through
    assert await noted() == first


async def test_an_operators_key_belongs_to_the_installation(door: Door) -> None:
    id_ = door.services.ids.new("key")
    secret = new_key(id_, door.services.ids.secret(), live=True)
    row = new_row(id_, secret, workspace=None, name="op", scopes=set(Scope), now=datetime.now(UTC))
    await door.services.db.write(lambda tx: create_key(tx, row))
    me = (await door.http.get("/api/v1/me", headers=door.showing(secret.text))).json()
    assert me["workspace"]["id"] == SYSTEM
    assert "operator" in me["scopes"]


async def test_keys_come_in_pages_newest_first(door: Door) -> None:
    for number in range(3):
        await door.http.post("/api/v1/keys", json={"name": str(number)}, headers=door.showing(door.key))
    first = (await door.http.get("/api/v1/keys?limit=2", headers=door.showing(door.key))).json()
    assert [key["name"] for key in first["data"]] == ["2", "1"]
    rest = await door.http.get(f"/api/v1/keys?cursor={first['next_cursor']}", headers=door.showing(door.key))
    assert [key["name"] for key in rest.json()["data"]] == ["0", "development"]
