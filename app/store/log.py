"""The event log: append-only, one dense sequence of numbers per workspace, in commit order.

The number comes from a counter row that the writing transaction locks last of all: never from a sequence or a clock,
with which a reader loses every fifth event (`promises.md`, fact 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, bindparam, insert, update
from sqlmodel import Column, Field

from app.core.events import Event, Topic
from app.store.columns import Row, insert_if_new, table, text_column
from app.store.prepared import Prepared, Runs


class EventRow(Row, table=True):
    __tablename__ = "events"
    __table_args__ = (Index(None, "workspace", "job", "seq"), Index(None, "workspace", "run", "seq"))

    workspace: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    type: str
    time: datetime
    job: str | None = None
    run: str | None = None
    data: str = Field(sa_column=text_column())


class CounterRow(Row, table=True):
    """`seq` is the number last given out; events up to `trimmed` are gone."""

    __tablename__ = "counters"

    workspace: str = Field(primary_key=True)
    seq: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    trimmed: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


_C = table(CounterRow)
_TAKE = Prepared(
    update(_C).where(_C.c.workspace == bindparam("ws")).values(seq=_C.c.seq + bindparam("n")).returning(_C.c.seq)
)
_NEW_COUNTER = insert_if_new(CounterRow)
_APPEND = Prepared(insert(table(EventRow)))


def append(tx: Runs, events: Sequence[tuple[Event, Topic]], now: datetime) -> list[tuple[Event, Topic, int]]:
    """Number and store events; the order of one workspace's events is kept. Locks counters in the order of their names,
    so that two writes never wait for each other in a circle."""
    numbered: list[tuple[Event, Topic, int]] = []
    for workspace in sorted({topic.workspace for _, topic in events}):
        mine = [(event, topic) for event, topic in events if topic.workspace == workspace]
        first = _take(tx, workspace, len(mine)) - len(mine) + 1
        numbered += [(event, topic, first + i) for i, (event, topic) in enumerate(mine)]
    tx.execute(_APPEND, [_row(event, topic, seq, now) for event, topic, seq in numbered])
    return numbered


def _take(tx: Runs, workspace: str, n: int) -> int:
    """The last of `n` new numbers. A workspace's counter is made with its first event."""
    last = tx.execute(_TAKE, {"ws": workspace, "n": n}).scalar_one_or_none()
    if last is None:
        tx.execute(_NEW_COUNTER[tx.dialect], {"workspace": workspace, "seq": 0, "trimmed": 0})
        return _take(tx, workspace, n)
    return int(last)


def _row(event: Event, topic: Topic, seq: int, now: datetime) -> dict[str, Any]:
    return {
        "workspace": topic.workspace,
        "seq": seq,
        "type": event.type,
        "time": now,
        "job": topic.job,
        "run": topic.run,
        "data": event.model_dump_json(),
    }
