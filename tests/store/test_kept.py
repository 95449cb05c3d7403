"""What the store keeps for others: answers to intents, deliveries and refusals, and lists as steady pages."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, select

from app.core.errors import KeyReused, NotFound
from app.core.idempotency import IdempotencyKey
from app.jobs.model import RunRow
from app.store import inbox
from app.store.columns import table
from app.store.idempotency import IdempotencyRow, Replayed, once
from app.store.inbox import DeliveryRow, RefusalRow
from app.store.pages import newest_first, position
from app.store.write import Tx
from tests.databases import THE_PAST, Shelf, note

KEY = IdempotencyKey.of("key", "POST", "/jobs", b"{}")
OTHER = IdempotencyKey.of("key", "POST", "/jobs", b"{ }")
R = table(RunRow)


def asked(tx: Tx, answer: str, key: IdempotencyKey | None = KEY, workspace: str = "ws") -> str:
    """An operation as they are all written."""
    before = once(tx, workspace, key, answer)
    if before is not None:
        return before.answer
    note(tx, answer)
    return answer


async def test_fifty_at_once_get_one_answer_and_one_effect(shelf: Shelf) -> None:
    answers = await asyncio.gather(*(shelf.db.write(partial(asked, answer=f"{n}")) for n in range(50)))

    assert len(set(answers)) == 1
    assert await shelf.notes() == answers[:1]


async def test_a_twin_in_flight_waits_for_the_first_and_gets_its_answer(shelf: Shelf) -> None:
    """It is not turned away: by the time it could be told to wait, the answer is there."""
    inside, go_on = threading.Event(), threading.Event()

    def first(tx: Tx) -> Replayed | None:
        before = once(tx, "ws", KEY, "first")
        inside.set()
        assert go_on.wait(10)
        return before

    loop = asyncio.get_running_loop()
    made = loop.create_task(shelf.db.write(first))
    assert await asyncio.to_thread(inside.wait, 10)
    twins = [loop.create_task(shelf.db.write(lambda tx: once(tx, "ws", KEY, "twin"))) for _ in range(3)]
    other = loop.create_task(shelf.db.write(partial(once, workspace="ws", key=OTHER, answer="other")))
    done, _ = await asyncio.wait(twins, timeout=0.1)
    assert not done
    go_on.set()

    assert await made is None
    assert await asyncio.gather(*twins) == [Replayed("first")] * 3
    with pytest.raises(KeyReused):
        await other


async def test_the_same_key_with_another_request_is_refused_and_changes_nothing(shelf: Shelf) -> None:
    await shelf.db.write(partial(asked, answer="first"))
    for other in (("PUT", "/jobs", b"{}"), ("POST", "/runs", b"{}"), ("POST", "/jobs", b"{ }")):
        with pytest.raises(KeyReused) as refused:
            await shelf.db.write(partial(asked, answer="second", key=IdempotencyKey.of("key", *other)))
        assert refused.value.errors[0].pointer == "/header/idempotency-key"
    assert await shelf.notes() == ["first"]


async def test_a_request_that_was_refused_does_not_use_up_its_key(shelf: Shelf) -> None:
    def refused(tx: Tx) -> None:
        asked(tx, "half")
        raise NotFound

    with pytest.raises(NotFound):
        await shelf.db.write(refused)
    assert await shelf.rows(select(table(IdempotencyRow))) == []
    assert await shelf.db.write(partial(asked, answer="whole")) == "whole"


async def test_a_key_belongs_to_its_workspace(shelf: Shelf) -> None:
    assert await shelf.db.write(partial(asked, answer="a")) == "a"
    assert await shelf.db.write(partial(asked, answer="b", workspace="other")) == "b"


async def test_without_a_key_everything_is_new(shelf: Shelf) -> None:
    assert await shelf.db.write(lambda tx: once(tx, "ws", None, "a")) is None
    assert isinstance(await shelf.db.write(lambda tx: once(tx, "ws", KEY, "a") or once(tx, "ws", KEY, "b")), Replayed)


def a_delivery(**changes: Any) -> dict[str, Any]:
    body = b"\x00\xff not even text"
    return {
        "id": "dlv_1",
        "workspace": "ws",
        "job": "job",
        "attempt": "att",
        "source": "webhook",
        "request_id": "req",
        "timestamp": "1",
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "body": body,
        "status": 0,
        "verdicts": {"tag": "ours"},
        "received_at": THE_PAST,
    } | changes


async def test_a_delivery_is_kept_once_byte_by_byte(shelf: Shelf) -> None:
    kept = await asyncio.gather(
        *(shelf.db.write(lambda tx, n=n: inbox.keep(tx, a_delivery(id=f"dlv_{n}"))) for n in range(10))  # type: ignore[misc]
    )
    assert sorted(kept) == [False] * 9 + [True]
    (row,) = await shelf.rows(select(table(DeliveryRow)))
    assert (row.body, row.verdicts, row.received_at) == (b"\x00\xff not even text", {"tag": "ours"}, THE_PAST)

    for n, change in enumerate(({"attempt": "x"}, {"request_id": "x"}, {"timestamp": "2"}, {"body_sha256": "x"})):
        assert await shelf.db.write(partial(inbox.keep, delivery=a_delivery(id=f"new {n}", **change)))

    await shelf.db.write(partial(inbox.set_effect, delivery=row.id, effect="late"))
    effects = [each.effect for each in await shelf.rows(select(table(DeliveryRow).c.effect))]
    assert sorted(map(str, effects)) == ["None"] * 4 + ["late"]


async def test_refusals_are_kept_up_to_a_number_and_lost_purchases_each_once(shelf: Shelf) -> None:
    def refuse(tx: Tx, n: int) -> None:
        at = THE_PAST + timedelta(seconds=n)
        refusal = {"id": f"{n:02}", "reason": "forged", "attempt": "", "detail": "", "received_at": at}
        inbox.refuse(tx, refusal)
        inbox.trim_refusals(tx, 5)

    for _ in range(2):
        await shelf.db.write(partial(inbox.note_unknown, attempt="att", named_by="req", detail="bought"))
    for n in range(12):
        await shelf.db.write(partial(refuse, n=n))
    notes = table(RefusalRow)
    rows = await shelf.rows(select(notes.c.id, notes.c.reason).order_by(notes.c.received_at))
    assert [row.id for row in rows if row.reason == "forged"] == ["07", "08", "09", "10", "11"]
    assert [row.reason for row in rows if row.reason != "forged"] == ["unknown"]


def a_run(tx: Tx, id_: str, seconds: int) -> None:
    at = THE_PAST + timedelta(seconds=seconds, microseconds=seconds)
    row = {"id": id_, "workspace": "ws", "name": "", "policy": "per_item", "status": "running", "total": 1, "meta": {}}
    tx.execute(
        insert(R),
        row | {"created_at": at, "updated_at": at, "completed": 0, "failed": 0, "cancelled": 0, "credits_held": 0},
    )


async def test_pages_are_steady_while_rows_are_added(shelf: Shelf) -> None:
    """Also where several rows have the same time."""
    for n in range(20):
        await shelf.db.write(partial(a_run, id_=f"run_{n:02}", seconds=n // 3))
    seen: list[str] = []
    after: str | None = None
    while True:
        page = await shelf.rows(newest_first(select(R.c.id, R.c.created_at), R, 3, after))
        seen += [row.id for row in page[:3]]
        await shelf.db.write(partial(a_run, id_=f"run_new_{len(seen)}", seconds=1000 + len(seen)))
        if len(page) <= 3:
            break
        after = position(page[2].created_at, page[2].id)

    assert seen == [f"run_{n:02}" for n in reversed(range(20))]
