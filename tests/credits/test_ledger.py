"""The ledger: credits are neither made nor lost, each hold ends once, and nobody spends what is not there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.core.errors import NotEnoughCredits
from app.core.events import Topic
from app.credits.ledger import AlreadyEnded, Hold, NotHeld, book_cost, grant, hold, post, void
from app.credits.model import EntryRow, TransferRow
from app.store.columns import table
from app.store.log import EventRow
from app.store.write import Tx
from tests.credits.books import balance, sums, violations
from tests.databases import DATABASES, Shelf, opened, place_for

TOPIC = Topic("ws", job="job")


@pytest.fixture(params=DATABASES)
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    with place_for(request.param, tmp_path) as url:
        async with opened(url) as shelf:
            yield shelf
            assert set((await sums(shelf)).values()) <= {0}
            assert await violations(shelf.db) == []


def a_hold(name: str = "hold", amount: int = 5) -> Hold:
    return Hold(name, "ws", amount, "job")


async def granted(shelf: Shelf, amount: int = 10) -> None:
    await shelf.db.write(partial(grant, transfer=f"grant {amount}", workspace="ws", amount=amount, reason="why"))


async def held(shelf: Shelf, amount: int = 5, name: str = "hold") -> Hold:
    each = a_hold(name, amount)
    await shelf.db.write(partial(hold, held=each, topic=TOPIC))
    return each


async def test_a_grant_made_twice_is_one_grant(shelf: Shelf) -> None:
    await asyncio.gather(*(granted(shelf) for _ in range(10)))
    assert await balance(shelf) == (10, 0, 0)
    events = await shelf.rows(select(table(EventRow).c.type))
    assert [event.type for event in events] == ["credits.granted"]


async def test_a_hold_is_posted_and_the_rest_comes_back(shelf: Shelf) -> None:
    await granted(shelf)
    mine = await held(shelf)
    assert await balance(shelf) == (5, 5, 0)
    await shelf.db.write(partial(post, held=mine, used=3, topic=TOPIC))
    assert await balance(shelf) == (7, 0, 3)


@pytest.mark.parametrize(("used", "after"), [(0, (10, 0, 0)), (5, (5, 0, 5)), (9, (5, 0, 5))])
async def test_no_more_is_spent_than_was_held(shelf: Shelf, used: int, after: tuple[int, int, int]) -> None:
    await granted(shelf)
    await shelf.db.write(partial(post, held=await held(shelf), used=used, topic=TOPIC))
    assert await balance(shelf) == after


async def test_a_hold_of_nothing_ends_like_any_other(shelf: Shelf) -> None:
    await granted(shelf)
    await shelf.db.write(partial(post, held=await held(shelf, 0, "one"), used=0, topic=TOPIC))
    await shelf.db.write(partial(void, held=await held(shelf, 0, "two"), reason="", topic=TOPIC))
    assert await balance(shelf) == (10, 0, 0)


async def test_what_is_not_there_cannot_be_held(shelf: Shelf) -> None:
    with pytest.raises(NotEnoughCredits) as poor:
        await held(shelf, 1)
    assert poor.value.extra == {"needed": 1, "available": 0}

    await granted(shelf)
    with pytest.raises(NotEnoughCredits) as poor:
        await held(shelf, 11)
    assert poor.value.extra == {"needed": 11, "available": 10}
    assert await balance(shelf) == (10, 0, 0)


@pytest.mark.parametrize("first", [post, void])
@pytest.mark.parametrize("second", [post, void])
@pytest.mark.parametrize("beside", [0, 5])
async def test_a_hold_ends_once_whoever_comes_second(shelf: Shelf, first: Any, second: Any, beside: int) -> None:
    """Also when the balance would allow it, because of another hold that stands beside it."""
    await granted(shelf)
    mine, _ = await held(shelf), await held(shelf, beside, "another")
    await shelf.db.write(partial(_end, first, mine))
    before = await balance(shelf)

    with pytest.raises(AlreadyEnded):
        await shelf.db.write(partial(_end, second, mine))
    assert await balance(shelf) == before


def _end(ending: Any, mine: Hold, tx: Tx) -> None:
    if ending is post:
        post(tx, mine, 3, TOPIC)
    else:
        void(tx, mine, "why", TOPIC)


async def test_a_hold_that_was_never_taken_cannot_be_ended(shelf: Shelf) -> None:
    """That is a fault of the program and no late arrival: it must be loud."""
    await granted(shelf)
    with pytest.raises(NotHeld):
        await shelf.db.write(partial(_end, void, a_hold()))
    assert await balance(shelf) == (10, 0, 0)


@pytest.mark.parametrize("seed", range(3))
async def test_posts_and_voids_race_and_one_of_them_wins(shelf: Shelf, seed: int) -> None:
    await granted(shelf, 100)
    holds = [await held(shelf, n % 7, f"hold {n}") for n in range(12)]
    endings = [partial(_end, ending, each) for each in holds for ending in (post, void, post, void)]
    random.Random(seed).shuffle(endings)
    ends = await asyncio.gather(*map(shelf.db.write, endings), return_exceptions=True)

    assert sum(end is None for end in ends) == len(holds)
    assert {type(end) for end in ends} == {type(None), AlreadyEnded}
    available, still_held, spent = await balance(shelf)
    assert (still_held, available + spent) == (0, 100)


async def test_forty_takers_of_ten_credits(shelf: Shelf) -> None:
    await granted(shelf)
    ends = await asyncio.gather(*(held(shelf, 1, f"{n}") for n in range(40)), return_exceptions=True)
    assert sum(isinstance(end, Hold) for end in ends) == 10
    assert sum(isinstance(end, NotEnoughCredits) for end in ends) == 30
    assert await balance(shelf) == (0, 10, 0)


async def test_the_cost_of_an_attempt_is_booked_once(shelf: Shelf) -> None:
    booking = partial(book_cost, execution="att", workspace="ws", owner="job", micro_usd=40_000)
    await asyncio.gather(*(shelf.db.write(booking) for _ in range(5)))
    await shelf.db.write(partial(book_cost, execution="free", workspace="ws", owner="job", micro_usd=0))

    entries = table(EntryRow)
    found = await shelf.rows(select(entries.c.account, entries.c.ledger, entries.c.amount).order_by(entries.c.amount))
    assert [tuple(row) for row in found] == [("payable", "micro_usd", -40_000), ("costs", "micro_usd", 40_000)]
    assert await balance(shelf) == (0, 0, 0)


async def test_a_ledger_event_says_what_moved(shelf: Shelf) -> None:
    await granted(shelf)
    await shelf.db.write(partial(post, held=await held(shelf), used=2, topic=TOPIC))
    await shelf.db.write(partial(void, held=await held(shelf, 1, "two"), reason="cancelled", topic=TOPIC))
    log = table(EventRow)

    assert [tuple(row) for row in await shelf.rows(select(log.c.type, log.c.job, log.c.data).order_by(log.c.seq))] == [
        ("credits.granted", None, '{"amount":10,"reason":"why"}'),
        ("credits.held", "job", '{"hold":"hold","amount":5,"owner":"job"}'),
        ("credits.posted", "job", '{"hold":"hold","amount":2,"returned":3,"owner":"job"}'),
        ("credits.held", "job", '{"hold":"two","amount":1,"owner":"job"}'),
        ("credits.voided", "job", '{"hold":"two","amount":1,"owner":"job","reason":"cancelled"}'),
    ]


async def test_the_same_hold_cannot_be_taken_twice(shelf: Shelf) -> None:
    await granted(shelf)
    await held(shelf)
    with pytest.raises(IntegrityError):
        await held(shelf)
    assert await balance(shelf) == (5, 5, 0)


def test_nobody_holds_or_spends_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="-1 credits"):
        a_hold(amount=-1)
    with pytest.raises(ValueError, match="-1 credits"):
        post(None, a_hold(), -1, TOPIC)  # type: ignore[arg-type]


def test_the_end_of_a_hold_is_unique_by_index() -> None:
    (index,) = [index for index in table(TransferRow).indexes if index.name == "uq_transfers_final"]
    assert index.unique
    assert [column.name for column in index.columns] == ["hold"]
