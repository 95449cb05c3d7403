"""A part of a write that stands as a whole or not at all, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from app.core.events import Topic
from app.credits.ledger import _BALANCE, AlreadyEnded, Hold, grant, hold, void
from app.store.advance import Moved
from app.store.columns import table
from app.store.database import Database
from app.store.log import EventRow
from app.store.write import Tx
from app.wiring import database_of
from tests.inside import IDS
from tests.running import prepared, schema_of_its_own, settings_from

HELD = Hold("hold_1", "ws_1", 3, "job_1")


@pytest.fixture(params=["sqlite", "postgresql"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    with ExitStack() as stack:
        given = {"DARKROOM_DATA": str(tmp_path), "DARKROOM_FAL_URL": "http://127.0.0.1:9", "DARKROOM_SECRET": "s" * 40}
        if request.param == "postgresql":
            given["DARKROOM_DATABASE_URL"] = stack.enter_context(schema_of_its_own())
        settings = settings_from(given)
        await asyncio.to_thread(prepared, settings)
        db = database_of(settings)
        await db.open()
        await db.write(_begin)
        yield db
        await db.close()


async def test_what_is_caught_leaves_no_trace_and_the_write_goes_on(db: Database) -> None:
    def write(tx: Tx) -> None:
        with suppress(Moved), tx.whole():
            void(tx, HELD, "too late", Topic("ws_1"))
            raise Moved
        grant(tx, IDS.new("xfer"), "ws_1", 5, "more")

    await db.write(write)
    assert await db.write(_balance) == (12, 3, 0)
    assert await db.write(_kinds) == ["credits.granted", "credits.held", "credits.granted"]


async def test_a_hold_that_has_ended_is_a_move_that_somebody_else_made(db: Database) -> None:
    def end_twice(tx: Tx) -> bool:
        void(tx, HELD, "first", Topic("ws_1"))
        try:
            with tx.whole():
                void(tx, HELD, "second", Topic("ws_1"))
        except AlreadyEnded:
            return True
        return False

    assert await db.write(end_twice)
    assert await db.write(_balance) == (10, 0, 0)

    other = Hold("hold_2", "ws_1", 4, "job_2")
    await db.write(lambda tx: hold(tx, other, Topic("ws_1")))
    with pytest.raises(Moved):  # there would be enough in the balance, but it is not this hold's
        await db.write(lambda tx: void(tx, HELD, "third", Topic("ws_1")))
    assert await db.write(_balance) == (6, 4, 0)


def _begin(tx: Tx) -> None:
    grant(tx, IDS.new("xfer"), "ws_1", 10, "to begin with")
    hold(tx, HELD, Topic("ws_1"))


def _balance(tx: Tx) -> tuple[int, int, int]:
    row = tx.execute(_BALANCE, {"w": "ws_1"}).one()
    return row.available, row.held, row.spent


def _kinds(tx: Tx) -> list[str]:
    log = table(EventRow)
    return list(tx.execute(select(log.c.type).where(log.c.workspace == "ws_1").order_by(log.c.seq)).scalars())
