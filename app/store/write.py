"""One write: what a plain function may do to the database between BEGIN and COMMIT.

The function is not a coroutine, so it cannot wait for anything outside. It may be run again after a conflict, so ids
and times come from outside it; `tx.now` is the time at which the write was asked for. What it records is numbered last,
which keeps the order of locks the same in every write: balances, then rows (tasks among them), then counters. One row
comes before the balance: an attempt's own, where it ends, since that tells whether its job's hold is to be settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, overload

from sqlalchemy import Connection, CursorResult, Executable, func, select
from sqlalchemy.exc import SQLAlchemyError

from app.core.events import Event, Topic
from app.core.ids import derived
from app.store import log, tasks
from app.store.prepared import Direct, Outcome, Pipeline, Prepared
from app.store.tasks import NewTask, Task

Reactions = Mapping[tuple[str, str], str]
"""(workflow, event type) -> the kind of task to store when a run of that workflow records such an event."""

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

_CLOCK = Prepared(select(func.clock_timestamp()))


class Tx:
    """A transaction in the hands of a write. It has no commit: that is the database's, after the function returned."""

    def __init__(
        self, connection: Connection, now: datetime, reactions: Reactions, new_id: Callable[[str], str]
    ) -> None:
        self.now = now
        self.dialect = connection.dialect.name
        self.topics: set[str] = set()
        self.settled: list[Task] = []
        self._connection = connection
        self._direct = Pipeline(connection) if self.dialect == "postgresql" else Direct(connection)
        self._reactions = reactions
        self._new_id = new_id
        self._events: list[tuple[Event, Topic]] = []
        self._tasks: list[NewTask] = []

    @overload
    def execute(self, statement: Prepared, parameters: Parameters = None) -> Outcome: ...

    @overload
    def execute(self, statement: Executable, parameters: Parameters = None) -> CursorResult[*tuple[Any, ...]]: ...

    def execute(self, statement: Prepared | Executable, parameters: Parameters = None) -> Any:
        if isinstance(statement, Prepared):
            return self._direct.run(statement, parameters)
        self._direct.settle()
        return self._connection.execute(statement, parameters)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What is done inside stands as a whole or not at all, even if the write catches the error and goes on."""
        events, spawned, settled = len(self._events), len(self._tasks), len(self.settled)
        self._direct.settle()  # what went wrong before is not undone by what is undone in here
        self._direct.say("SAVEPOINT whole")
        try:
            yield
        except BaseException:
            with suppress(SQLAlchemyError):  # some statement that nobody had looked at may be what broke
                self._direct.settle()
            with suppress(SQLAlchemyError):  # or the connection itself
                self._direct.say("ROLLBACK TO SAVEPOINT whole")
                self._direct.say("RELEASE SAVEPOINT whole")
            del self._events[events:], self._tasks[spawned:], self.settled[settled:]
            raise
        self._direct.say("RELEASE SAVEPOINT whole")

    def record(self, event: Event, topic: Topic) -> None:
        """Say that something happened; numbered and stored at the end of this write."""
        self._events.append((event, topic))

    def spawn(self, task: NewTask) -> None:
        """Have something done after this write; nothing happens when the same key is already waiting."""
        self._tasks.append(task)

    def wake(self, task: NewTask) -> None:
        """Have something done no later than its `due_at`, bringing a waiting task of this key forward."""
        tasks.hasten(self, task.key, task.due_at or self.now)
        self.spawn(task)
        self.topics.add("tasks")

    def drop(self, key: str) -> None:
        """A waiting task of this key has become needless; one that is running is left alone."""
        tasks.drop(self, key, self.now)

    def finish(self, task: Task) -> None:
        """The claimed task is done by this write. Raises `LeaseLost` when somebody else has it by now."""
        tasks.finish(self, task, self.now)
        self.settled.append(task)

    def again(self, task: Task, due_at: datetime, *, tries: int = 0, error: str | None = None) -> None:
        """The claimed task is to be run again at `due_at`. Raises `LeaseLost`."""
        tasks.again(self, task, due_at, tries=tries, error=error)
        self.settled.append(task)

    def park(self, task: Task, error: str) -> None:
        """The claimed task is set aside for a person. Raises `LeaseLost`."""
        tasks.park(self, task, self.now, error)
        self.settled.append(task)

    def database_now(self) -> datetime:
        """The clock that leases are judged by: the database's, where several machines share it."""
        if self.dialect != "postgresql":
            return self.now
        now: datetime = self.execute(_CLOCK).scalar_one()
        return now

    def settle(self) -> None:
        """Wait for the answers to all that was sent. Raises what had gone wrong."""
        self._direct.settle()

    def close(self) -> None:
        """Number and store what was recorded, with a task for each reaction. Called once, by the database, at the
        end."""
        # A task may have to wait for another write's task of the same key; nobody may wait while holding a counter.
        self._store(self._tasks)
        if not self._events:
            return
        reactions: list[NewTask] = []
        for event, topic, seq in log.append(self, self._events, self.now):
            self.topics.add(f"w:{topic.workspace}")
            if kind := self._reactions.get((topic.workflow or "", event.type)):
                reactions.append(_reaction(kind, event, topic, seq))
        self._store(reactions)  # their keys hold the event's number, so nobody else can have them

    def _store(self, new: Sequence[NewTask]) -> None:
        if new:
            tasks.store(self, [(task, self._new_id("task")) for task in new], self.now)
            self.topics.add("tasks")


def _reaction(kind: str, event: Event, topic: Topic, seq: int) -> NewTask:
    payload = {"job": topic.job, "run": topic.run, "seq": seq, "event": event.model_dump(mode="json")}
    return NewTask(kind, derived("task", kind, topic.workspace, seq), topic.workspace, payload)
