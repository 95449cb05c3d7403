"""Statements that go past SQLAlchemy mean what they would mean through it, and fail as loudly."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.store.advance import Moved
from app.store.columns import table
from app.store.inbox import DeliveryRow, RefusalRow, Source
from app.store.prepared import Prepared
from app.store.tasks import TaskRow
from app.store.write import Tx
from tests.databases import DATABASES, THE_PAST, Shelf, note, opened, place_for

_D, _R = table(DeliveryRow), table(RefusalRow)
DELIVERY: dict[str, Any] = {
    "id": "dlv_1",
    "workspace": "ws",
    "job": "job_1",
    "attempt": "att_1",
    "source": Source.WEBHOOK,
    "request_id": "r",
    "timestamp": "1",
    "body_sha256": "00",
    "body": b"\x00\xff'%s",
    "status": 0,
    "verdicts": {"tag": "ours", "deep": [1, None, "é"]},
    "effect": None,
    "received_at": THE_PAST,
    "redriven_at": THE_PAST,
}
NOTE = {"reason": "note", "attempt": "", "detail": "", "received_at": THE_PAST}
PUT = Prepared(insert(_R))


@pytest.fixture(params=DATABASES)
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    with place_for(request.param, tmp_path) as url:
        async with opened(url) as shelf:
            yield shelf


async def test_values_come_and_go_as_through_sqlalchemy(shelf: Shelf) -> None:
    def work(tx: Tx) -> None:
        tx.execute(Prepared(insert(_D)), DELIVERY)
        tx.execute(insert(_D), {**DELIVERY, "id": "dlv_2", "timestamp": "2"})
        directly = tx.execute(Prepared(select(_D).order_by(_D.c.id))).mappings().all()
        assert directly == tx.execute(select(_D).order_by(_D.c.id)).mappings().all()
        assert dict(directly[0]) == DELIVERY
        assert isinstance(directly[0]["source"], Source)

    await shelf.db.write(work)


async def test_values_in_the_statement_and_defaults_of_the_table_are_kept(shelf: Shelf) -> None:
    t = table(TaskRow)
    store = Prepared(insert(t).values(kind="a.b", key="k", workspace="ws", payload={}, state="ready", lane=3))
    park = Prepared(update(t).where(t.c.lane.in_((2, 3)), t.c.id == bindparam("i")).values(state="parked"))

    def work(tx: Tx) -> tuple[Any, ...]:
        tx.execute(store, {"id": "t", "due_at": THE_PAST, "created_at": THE_PAST})
        assert tx.execute(park, {"i": "t"}).rowcount == 1
        assert tx.execute(park, {"i": "another"}).rowcount == 0
        return tuple(tx.execute(select(t.c.lane, t.c.state, t.c.tries, t.c.fence, t.c.worker)).one())

    assert await shelf.db.write(work) == (3, "parked", 0, 0, None)


async def test_several_rows_are_counted_together(shelf: Shelf) -> None:
    def work(tx: Tx) -> int:
        return tx.execute(PUT, [{"id": name, **NOTE} for name in "abc"]).rowcount

    assert await shelf.db.write(work) == 3
    assert await shelf.notes() == ["a", "b", "c"]


async def test_a_failure_that_nobody_looked_at_fails_the_write(shelf: Shelf) -> None:
    def work(tx: Tx) -> None:
        note(tx, "b")
        tx.execute(PUT, {"id": "a", **NOTE})
        tx.execute(PUT, {"id": "a", **NOTE})

    with pytest.raises(IntegrityError):
        await shelf.db.write(work)
    assert await shelf.notes() == []
    await shelf.db.write(lambda tx: tx.execute(PUT, {"id": "a", **NOTE}).rowcount)
    assert await shelf.notes() == ["a"]


async def test_what_a_part_did_is_undone_alone(shelf: Shelf) -> None:
    def work(tx: Tx) -> None:
        tx.execute(PUT, {"id": "a", **NOTE})
        with suppress(Moved), tx.whole():
            tx.execute(PUT, {"id": "b", **NOTE})
            raise Moved
        with tx.whole():
            tx.execute(PUT, {"id": "c", **NOTE})

    await shelf.db.write(work)
    assert await shelf.notes() == ["a", "c"]


async def test_a_part_that_failed_unseen_leaves_the_rest_usable(shelf: Shelf) -> None:
    def work(tx: Tx) -> None:
        tx.execute(PUT, {"id": "a", **NOTE})
        with suppress(Moved, IntegrityError), tx.whole():
            tx.execute(PUT, {"id": "a", **NOTE})
            raise Moved
        tx.execute(PUT, {"id": "b", **NOTE})

    await shelf.db.write(work)
    assert await shelf.notes() == ["a", "b"]
