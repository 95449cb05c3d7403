"""Tasks: what has still to be done, stored by the transaction that makes it necessary and finished by the one that does
it.

A task is ready, leased by one worker, done, or parked for a person. Claiming adds one to its `fence`, and whoever
finishes it must name that number: a worker that lost its lease can no longer write. Lanes keep the line moving: what is
nearest to a finished picture goes first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import Index, bindparam, case, func, literal_column, or_, select, text, update
from sqlmodel import Field

from app.store.columns import Row, insert_if_new, json_column, state_column, table
from app.store.prepared import Prepared, Runs


class TaskState(StrEnum):
    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    PARKED = "parked"


class Lane(IntEnum):
    """Who is served first. LINE: jobs already bought. HIGH, NORMAL, LOW: jobs that wait to begin. SUSPECT: tasks at
    which workers died twice, run one at a time, so that the guilty one dies alone."""

    LINE = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    SUSPECT = 9


def _index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))


class TaskRow(Row, table=True):
    __tablename__ = "tasks"
    __table_args__ = (
        _index("ix_tasks_ready", "lane", "due_at", where="state = 'ready'"),
        _index("ix_tasks_leased", "lease_until", where="state = 'leased'"),
        _index("uq_tasks_key", "key", unique=True, where="state <> 'done'"),
        _index("ix_tasks_finished", "finished_at", where="state = 'done'"),
    )

    id: str = Field(primary_key=True)
    kind: str
    key: str
    workspace: str
    payload: dict[str, Any] = Field(sa_column=json_column())
    state: TaskState = Field(sa_column=state_column(TaskState))
    lane: int
    due_at: datetime
    tries: int = 0
    deaths: int = 0
    fence: int = 0
    worker: str | None = None
    lease_until: datetime | None = None
    last_error: str | None = None
    created_at: datetime
    finished_at: datetime | None = None


@dataclass(frozen=True)
class NewTask:
    """`key` names the work: while a task with this key is unfinished, another one is not stored. `due_at` none: now."""

    kind: str
    key: str
    workspace: str
    payload: dict[str, Any] = field(default_factory=dict)
    due_at: datetime | None = None
    lane: Lane = Lane.LINE


@dataclass
class Task:
    """A claimed task in a worker's hands. `settled` turns true when a write that finished or re-armed it has
    committed."""

    id: str
    kind: str
    key: str
    workspace: str
    payload: dict[str, Any]
    lane: int
    tries: int
    deaths: int
    fence: int
    settled: bool = False


class LeaseLost(Exception):
    """Somebody else has this task now; nothing of this write may stand."""


_T = table(TaskRow)
_STORE = insert_if_new(TaskRow)
_HASTEN = (
    update(_T)
    .where(_T.c.key == bindparam("k"), _T.c.state == "ready", _T.c.due_at > bindparam("at"))
    .values(due_at=bindparam("at"))
)
_DROP = Prepared(
    update(_T)
    .where(_T.c.key == bindparam("k"), _T.c.state == "ready")
    .values(state="done", finished_at=bindparam("at"))
)
_FINISH = Prepared(
    update(_T)
    .where(_T.c.id == bindparam("i"), _T.c.fence == bindparam("f"), _T.c.state == "leased")
    .values(state="done", finished_at=bindparam("at"), lease_until=None)
)
_PUT = Prepared(
    update(_T)
    .where(_T.c.id == bindparam("i"), _T.c.fence == bindparam("f"), _T.c.state == "leased")
    .values(
        state=bindparam("s"),
        due_at=bindparam("at"),
        tries=bindparam("n"),
        last_error=bindparam("e"),
        deaths=bindparam("d"),
        lane=bindparam("l"),
        worker=None,
        lease_until=None,
    )
)


def store(tx: Runs, tasks: Sequence[tuple[NewTask, str]], now: datetime) -> None:
    """Store tasks under the ids given beside them; those whose key is already waiting are left as they are. In the
    order of their keys, so that two writes never wait for each other's in a circle."""
    rows = [
        {
            "id": id_,
            "kind": task.kind,
            "key": task.key,
            "workspace": task.workspace,
            "payload": task.payload,
            "state": "ready",
            "lane": int(task.lane),
            "due_at": task.due_at or now,
            "tries": 0,
            "deaths": 0,
            "fence": 0,
            "created_at": now,
        }
        for task, id_ in sorted(tasks, key=lambda each: each[0].key)
    ]
    tx.execute(_STORE[tx.dialect], rows)


def hasten(tx: Runs, key: str, due_at: datetime) -> None:
    """Bring a waiting task forward; one that is due earlier, running or absent is left alone."""
    tx.execute(_HASTEN, {"k": key, "at": due_at})


def drop(tx: Runs, key: str, now: datetime) -> None:
    """A waiting task has become needless."""
    tx.execute(_DROP, {"k": key, "at": now})


def finish(tx: Runs, task: Task, now: datetime) -> None:
    if tx.execute(_FINISH, {"i": task.id, "f": task.fence, "at": now}).rowcount != 1:
        raise LeaseLost(task.key)


def again(tx: Runs, task: Task, due_at: datetime, *, tries: int = 0, error: str | None = None) -> None:
    """Put a claimed task back, to be run at `due_at`. Without an error it came through, whatever it once died of."""
    survived = error is None and task.deaths > 0
    lane = Lane.LINE if survived and task.lane == Lane.SUSPECT else task.lane
    values = {"at": due_at, "n": tries, "e": error, "s": "ready", "d": 0 if survived else task.deaths, "l": int(lane)}
    _put(tx, task, values)


def park(tx: Runs, task: Task, now: datetime, error: str) -> None:
    """Set a claimed task aside for a person."""
    _put(tx, task, {"at": now, "n": task.tries, "e": error, "s": "parked", "d": task.deaths, "l": task.lane})


def _put(tx: Runs, task: Task, values: dict[str, Any]) -> None:
    if tx.execute(_PUT, {"i": task.id, "f": task.fence, **values}).rowcount != 1:
        raise LeaseLost(task.key)


# ----------------------------------------------------------------------------------------------------------------------
# What the runner does. Leases are judged by the database's clock where several machines share it; on SQLite one does.


_RIPE = (
    select(_T.c.id)
    .where(_T.c.state == literal_column("'ready'"), _T.c.lane == bindparam("the_lane"), _T.c.due_at <= bindparam("now"))
    .order_by(_T.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    # Looked up once, whatever the planner thinks of joining it: looked up again it would take more than its limit.
    .cte("ripe")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_IN_HAND = (_T.c.id, _T.c.kind, _T.c.key, _T.c.workspace, _T.c.payload, _T.c.lane, _T.c.tries, _T.c.deaths, _T.c.fence)
_CLAIM = Prepared(
    update(_T)
    .where(_T.c.id.in_(select(_RIPE.c.id)), _T.c.state == "ready")
    .values(state="leased", worker=bindparam("me"), fence=_T.c.fence + 1, lease_until=bindparam("until"))
    .returning(*_IN_HAND, _T.c.due_at)
)
_BEAT = (
    update(_T)
    .where(_T.c.id.in_(bindparam("held", expanding=True)), _T.c.worker == bindparam("me"), _T.c.state == "leased")
    .values(lease_until=bindparam("until"))
)
_DIED = {"deaths": _T.c.deaths + 1, "lane": case((_T.c.deaths >= 1, int(Lane.SUSPECT)), else_=_T.c.lane)}
_FREED: dict[str, Any] = {"state": "ready", "worker": None, "lease_until": None}
_LAPSED = (
    select(_T.c.id)
    .where(_T.c.state == literal_column("'leased'"), _T.c.lease_until < bindparam("now"))
    .with_for_update(skip_locked=True)  # what another worker frees in this moment is no reason to wait for it
)
_EXPIRE = update(_T).where(_T.c.id.in_(_LAPSED), _T.c.worker != bindparam("me")).values(**_FREED, **_DIED)
_STRAY = update(_T).where(_T.c.id.in_(_LAPSED), _T.c.worker == bindparam("me")).values(**_FREED)
_INHERIT = update(_T).where(_T.c.state == "leased", _T.c.worker != bindparam("me")).values(**_FREED, **_DIED)
_RELEASE = update(_T).where(_T.c.state == "leased", _T.c.worker == bindparam("me")).values(**_FREED)
_WAITING = select(_T.c.id, _T.c.due_at).where(
    _T.c.state == literal_column("'ready'"),
    or_(_T.c.lane == bindparam("the_lane"), _T.c.fence > 0),
    _T.c.due_at > bindparam("now"),
)
_DUE = update(_T).where(_T.c.id == bindparam("the_id"), _T.c.state == "ready").values(due_at=bindparam("at"))
_NEXT_DUE = select(func.min(_T.c.due_at)).where(
    _T.c.state == literal_column("'ready'"), _T.c.lane == bindparam("the_lane"), _T.c.due_at > bindparam("after")
)


def claim(tx: Runs, worker: str, lane: Lane, most: int, *, now: datetime, until: datetime) -> list[Task]:
    """Take what is due, what has been due longest first."""
    values = {"me": worker, "the_lane": int(lane), "most": most, "now": now, "until": until}
    found = sorted(tx.execute(_CLAIM, values).mappings(), key=lambda row: (row["due_at"], row["id"]))
    return [Task(**{column.name: row[column.name] for column in _IN_HAND}) for row in found]


def heartbeat(tx: Runs, worker: str, held: Collection[str], *, now: datetime, until: datetime) -> None:
    """Keep the leases of what this worker has in hand, and free those whose worker has fallen silent, counting a death
    for each. What is leased to this worker but not in its hand (the answer to a claim was lost, or its putting back
    failed) is freed when its lease lapses too; nobody died of that."""
    if held:
        tx.execute(_BEAT, {"me": worker, "held": list(held), "until": until})
    tx.execute(_STRAY, {"me": worker, "now": now})
    tx.execute(_EXPIRE, {"me": worker, "now": now})


def inherit(tx: Runs, worker: str) -> None:
    """Take over everything a dead predecessor had in hand: right only for whoever holds the data folder alone."""
    tx.execute(_INHERIT, {"me": worker})


def bring_back(tx: Runs, *, by: timedelta) -> None:
    """The wall clock was set back: what is on the line, and what is done again and again, falls due as long from now
    as it was meant to; so does what has begun and was put off. When a job may begin is left alone, since somebody may
    have named that time."""
    waiting = tx.execute(_WAITING, {"the_lane": int(Lane.LINE), "now": tx.now}).all()
    if waiting:
        tx.execute(_DUE, [{"the_id": row.id, "at": max(row.due_at - by, tx.now)} for row in waiting])


def release(tx: Runs, worker: str) -> None:
    """Give back what this worker did not finish; nobody died."""
    tx.execute(_RELEASE, {"me": worker})


def next_due(tx: Runs, lanes: Sequence[Lane], after: datetime) -> datetime | None:
    """When something falls due that was not due yet at `after`; what was, and is still here, waits for room."""
    found = [tx.execute(_NEXT_DUE, {"the_lane": int(lane), "after": after}).scalar() for lane in lanes]
    return min((at for at in found if at is not None), default=None)
