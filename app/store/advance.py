"""The one way a thing changes its state: a compare-and-set along an edge of its lifecycle, with its event, its
settlement and its follow-up tasks in the same transaction. Whoever comes second finds the thing moved, and nothing of
theirs stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import bindparam, update

from app.core.events import Event, Topic
from app.core.lifecycle import Lifecycle
from app.store.columns import Row, table
from app.store.prepared import Prepared
from app.store.tasks import NewTask
from app.store.write import Tx

State = TypeVar("State", bound=StrEnum)


class Moved(Exception):
    """Somebody else moved it first: a quiet outcome, not an error."""


def advance(  # noqa: PLR0913  # the one call that says all there is to say about a move
    tx: Tx,
    lifecycle: Lifecycle[State],
    row: type[Row],
    id_: str,
    to: State,
    event: Event,
    topic: Topic,
    *,
    values: Mapping[str, Any] | None = None,
    only: Mapping[str, Any] | None = None,
    settle: Callable[[Tx], None] | None = None,
    then: Sequence[NewTask] = (),
) -> None:
    """Move `id_` to `to`. `only` are columns that must still have these values. `settle` runs first, because balances
    are locked before rows; when the move turns out to be impossible, nothing of it stands.

    Raises:
        Moved: it is in no state from which this edge leads.
    """
    move = _Move(lifecycle, row, id_, to, event, values or {}, only or {})
    if settle is None:
        _compare_and_set(tx, move)
    else:
        with tx.whole():
            settle(tx)
            _compare_and_set(tx, move)
    tx.record(event, topic)
    for task in then:
        tx.spawn(task)


@dataclass(frozen=True)
class _Move:
    lifecycle: Lifecycle[Any]
    row: type[Row]
    id: str
    to: StrEnum
    event: Event
    values: Mapping[str, Any]
    only: Mapping[str, Any]


def _compare_and_set(tx: Tx, move: _Move) -> None:
    changes = {"status": str(move.to), "updated_at": tx.now, **move.values}
    sources = tuple(sorted(str(s) for s in move.lifecycle.sources(move.to, move.event.type)))
    statement = _statement(move.row, sources, tuple(sorted(changes)), tuple(sorted(move.only)))
    given = {f"v_{name}": value for name, value in changes.items()} | {
        f"o_{name}": value for name, value in move.only.items()
    }
    if tx.execute(statement, {"the_id": move.id, **given}).rowcount != 1:
        raise Moved(f"{move.lifecycle.subject} {move.id} is not on the way to {move.to}")


@lru_cache(maxsize=256)
def _statement(row: type[Row], sources: tuple[str, ...], names: tuple[str, ...], only: tuple[str, ...]) -> Prepared:
    t = table(row)
    return Prepared(
        update(t)
        .where(t.c.id == bindparam("the_id"), t.c.status.in_(sources), *(t.c[n] == bindparam(f"o_{n}") for n in only))
        .values({name: bindparam(f"v_{name}", type_=t.c[name].type) for name in names})
    )
