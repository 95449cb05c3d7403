"""Following the log through every kind of cut, for the tests beside this and for the proof that takes longer. What one
heard is told as counts, and as sentences where a number was missing, came twice or out of order.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from urllib.parse import parse_qs

from sqlalchemy import URL, Connection, Engine, create_engine, insert, text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Receive, Scope, Send

from app.adapters.clock import SystemClock
from app.core.errors import Problem
from app.rules import Rules
from app.store.columns import metadata, table
from app.store.follow import Hub
from app.store.log import CounterRow, EventRow
from app.web.streams import Streams
from tests.serving import serving
from tests.store.journal import Journal, journal_at, place_for
from tests.subscriber import EventSource, Heard, Subscription, subscribed
from tests.waiting import until

RULES = replace(Rules(), poll_every=0.1, ring=64, stream_page=50)
FINAL = frozenset({"job.completed"})
_MOST_BYTES = 1_200
"""Until the next cut. An event has some 140, and four or five come meanwhile, so the reader is often behind."""
_TRIMMED = 0.05
_COMING = 8
_PATIENCE = 20.0
_TOLD = 5


@dataclass
class Life:
    """One life of the service: a hub and its streams behind `/{workspace}?after=&job=`."""

    journal: Journal
    rules: Rules = RULES
    counted: Counter[str] = field(default_factory=Counter)
    reading: int = 0
    most_reading: int = 0

    def __post_init__(self) -> None:
        self.hub = Hub(self.read, SystemClock(), self.rules)
        self.streams = Streams(self.rules, random.Random(3), lambda name: self.counted.update([name]))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            async with self.journal.db.read() as session:
                yield session
        finally:
            self.reading -= 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        came_back = dict(scope["headers"]).get(b"last-event-id", b"").decode()
        after = came_back or (int(query["after"]) if "after" in query else None)
        try:
            feed = await self.hub.follow(
                scope["path"][1:], after=after, job=query.get("job"), final=FINAL, snapshot="/s"
            )
        except Problem as problem:
            body = json.dumps(problem.document()).encode()
            length = (b"content-length", str(len(body)).encode())
            await send({"type": "http.response.start", "status": problem.status, "headers": [length]})
            await send({"type": "http.response.body", "body": body})
        else:
            await self.streams.stream(feed).serve(scope, receive, send)

    @asynccontextmanager
    async def lived(self) -> AsyncIterator[int]:
        self.journal.nudges.hear.append(self.hub.hear)
        async with serving(self, self.streams.drain) as port:
            yield port
        self.journal.nudges.hear.remove(self.hub.hear)
        await self.hub.close()


@dataclass
class Followed:
    """What came of it: `cuts`, `events`, `resets` that told of trimmed history, and how many numbers were `missing` or
    came `again`; of those the first few in words."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def hear(self, events: Sequence[Heard], last: int, *, trimmed: int = 0, where: str) -> int:
        """Compare what was heard after number `last`; the number of the newest."""
        for each in events:
            seq = each.json["seq"]
            if each.type == "stream.reset":
                self.counts["resets"] += 1
                if not last < seq <= trimmed:
                    self._blame(f"{where}: history was said to begin after {seq}, not after {trimmed}")
            elif seq != last + 1:
                self.counts["missing"] += max(0, seq - last - 1)
                self.counts["again"] += seq <= last
                self._blame(f"{where}: after {last} came {seq}")
            last = max(last, seq)
        return last

    def end(self, last: int, newest: int, where: str) -> None:
        if last != newest:
            self.counts["missing"] += newest - last
            self._blame(f"{where}: {last} was the last, not {newest}")

    def _blame(self, words: str) -> None:
        if len(self.wrong) < _TOLD:
            self.wrong.append(words)


def numbers(source: EventSource) -> list[int]:
    return [each.json["seq"] for each in source.events]


async def cut_at_every_byte(journal: Journal) -> Followed:
    """Of a stream of 200 events. What a cut leaves behind is the last id. So: the last id at each byte of a stream, and
    the answer to each id, asked for by header, by query, and by both."""
    followed = Followed()
    await journal.write(200)
    async with Life(journal).lived() as port:
        async with subscribed(port, "/ws?after=0") as whole:
            await whole.until_events(200)
            body = whole.body
        resumed: dict[str, list[list[Heard]]] = {}
        for last_id in map(str, range(201)):
            resumed[last_id] = []
            for path, header in (("/ws", last_id), (f"/ws?after={last_id}", ""), ("/ws?after=0", last_id)):
                async with subscribed(port, path, last_id=header) as here:
                    await here.until_events(200 - int(last_id))
                    await here.until_text(b"retry: ")
                    resumed[last_id].append(here.source.events)

    seen, heard, last_id = EventSource(), -1, ""
    for offset in range(len(body)):
        followed.counts["cuts"] += 1
        seen.feed(body[offset : offset + 1])
        if (len(seen.events), seen.last_id) == (heard, last_id):
            continue  # a cut here leaves nothing else behind than one a byte before
        heard, last_id = len(seen.events), seen.last_id
        where = f"cut after byte {offset}"
        for rest in resumed[last_id or "0"]:
            followed.end(followed.hear([*seen.events, *rest], 0, where=where), 200, where)
    followed.counts["events"] += heard
    followed.end(heard, 200, "in the end")
    return followed


async def cut_again_and_again(journal: Journal, cuts: int, dice: random.Random, workspace: str = "ws") -> Followed:
    """One subscriber, while events come. Now and then history is trimmed while nobody looks, sometimes beyond what was
    heard; then that is said, if what was trimmed is not remembered still."""
    followed, life, last, trimmed, written = Followed(), Life(journal), 0, 0, 0
    async with life.lived() as port:
        for cut in range(cuts):
            if dice.random() < _TRIMMED:
                trimmed = max(trimmed, dice.randint(0, written))
                await journal.trim(trimmed, workspace)
            coming = dice.randint(1, _COMING)
            written += coming
            writing = asyncio.get_running_loop().create_task(journal.write(coming, workspace=workspace))
            heard = await _life(port, workspace, last, written, dice)
            await writing
            last = followed.hear(heard, last, trimmed=trimmed, where=f"life {cut}")
            followed.counts.update({"cuts": 1, "events": len(heard)})
        async with subscribed(port, f"/{workspace}?after={last}") as here:
            rest = await _until(here, written, last)
            followed.end(followed.hear(rest, last, trimmed=trimmed, where="the rest"), written, "in the end")
        await until(lambda: not len(life.streams))
        if life.hub._tails:
            followed.wrong.append("what nobody follows any more is read all the same")
    return followed


async def _life(port: int, workspace: str, last: int, newest: int, dice: random.Random) -> list[Heard]:
    """What was heard until the connection was cut off, wherever that was."""
    by_header, upto = dice.random() < 0.5, dice.randint(1, _MOST_BYTES)
    path = f"/{workspace}" if by_header else f"/{workspace}?after={last}"
    async with subscribed(port, path, last_id=str(last) if by_header else "") as here:
        await _until(here, newest, last, upto)
        source = EventSource()
        source.feed(here.body[:upto])
        return source.events


async def _until(here: Subscription, newest: int, last: int, upto: float = inf) -> list[Heard]:
    """Read so many bytes, or up to the newest event."""
    async with asyncio.timeout(_PATIENCE):
        assert here.status == 200, f"after {last} there is no stream: {here.status}"
        while last < newest and len(here.body) < upto:
            await here.more()
            assert not here.over, f"the stream ended by itself after {here.body[-200:]!r}"
            last = int(here.source.last_id or last)
    return here.source.events


# ----------------------------------------------------------------------------------------------------------------------
# What must fail


async def numbered_by_a_sequence(folder: Path) -> list[int]:
    """What a reader hears of three events whose numbers come from a sequence (promises, fact 7): without this, the rest
    might only show that nothing ever happens at the same time."""
    with place_for("postgresql", folder) as url, _engine(url) as engine:
        metadata.create_all(engine, [table(EventRow), table(CounterRow)])
        with engine.begin() as connection:
            connection.execute(text("CREATE SEQUENCE naive"))
            connection.execute(insert(table(CounterRow)).values(workspace="ws", seq=0, trimmed=0))

        async with journal_at(url) as journal:
            life = Life(journal, replace(RULES, poll_every=0.002))
            async with life.lived() as port, subscribed(port, "/ws?after=0") as here:
                with engine.begin() as slow:
                    _record_naively(slow)
                    with engine.begin() as quick:
                        _record_naively(quick)
                    await here.until_text(b"id: 2\n")
                with engine.begin() as later:
                    _record_naively(later)
                await here.until_text(b"id: 3\n")
    return numbers(here.source)


@contextmanager
def _engine(url: URL) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def _record_naively(connection: Connection) -> None:
    row = {"workspace": "ws", "type": "job.queued", "time": datetime.now(UTC), "data": "{}"}
    number = connection.execute(text("SELECT nextval('naive')")).scalar_one()
    connection.execute(insert(table(EventRow)).values(seq=number, **row))
    if number > 1:  # the slow one tells nobody, as it would with a number that is no longer the newest
        connection.execute(text("UPDATE counters SET seq = :number"), {"number": number})
