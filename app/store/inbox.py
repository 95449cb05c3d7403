"""The inbox: every completion that reached us, as raw bytes with the verdicts on them, whether fal called or the
reconciler looked. A delivery is stored once and worked on later; it can be redriven. What the door refused is kept, cut
short, in a table of its own: a bounded number of calls, and every purchase that a restore has lost.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, LargeBinary, UniqueConstraint, bindparam, delete, insert, select, update
from sqlmodel import Column, Field

from app.core.ids import derived
from app.store.columns import Row, insert_if_new, json_column, state_column, table, text_column
from app.store.prepared import Prepared
from app.store.write import Tx

UNKNOWN = "unknown"
"""The verdict on a genuine completion of an attempt that is not in this database."""


class Source(StrEnum):
    """How a completion came: fal called us, or we looked."""

    WEBHOOK = "webhook"
    POLL = "poll"


class DeliveryRow(Row, table=True):
    """`effect` says what came of it: `ingested`, `late`, `extra`, `repeated`, or none while it waits."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("attempt", "request_id", "timestamp", "body_sha256"),
        Index(None, "workspace", "received_at"),
    )

    id: str = Field(primary_key=True)
    workspace: str
    job: str = Field(index=True)
    attempt: str
    source: Source = Field(sa_column=state_column(Source))
    request_id: str
    timestamp: str
    body_sha256: str
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    status: int
    """The model's HTTP status when we looked; 0 for a webhook, whose body says it."""
    verdicts: dict[str, Any] = Field(sa_column=json_column())
    effect: str | None = None
    received_at: datetime
    redriven_at: datetime | None = None


class RefusalRow(Row, table=True):
    """A call at the webhook door that was turned away: why, and the beginning of what it said."""

    __tablename__ = "refusals"

    id: str = Field(primary_key=True)
    reason: str
    attempt: str
    detail: str = Field(sa_column=text_column())
    received_at: datetime = Field(index=True)


_D = table(DeliveryRow)
_R = table(RefusalRow)
_KEEP = insert_if_new(DeliveryRow)
_EFFECT = Prepared(update(_D).where(_D.c.id == bindparam("i"), _D.c.effect.is_(None)).values(effect=bindparam("e")))
_REFUSE = insert(_R)
_NOTE = insert_if_new(RefusalRow)
_PASSING = _R.c.reason != UNKNOWN
_OLDEST_KEPT = (
    select(_R.c.received_at).where(_PASSING).order_by(_R.c.received_at.desc()).offset(bindparam("n")).limit(1)
)
_DROP_REFUSALS = delete(_R).where(_PASSING, _R.c.received_at <= bindparam("at"))


def keep(tx: Tx, delivery: dict[str, Any]) -> bool:
    """Store a delivery; false when this very one is here already."""
    return tx.execute(_KEEP[tx.dialect], delivery).rowcount == 1


def set_effect(tx: Tx, delivery: str, effect: str) -> None:
    tx.execute(_EFFECT, {"i": delivery, "e": effect})


def refuse(tx: Tx, refusal: dict[str, Any]) -> None:
    tx.execute(_REFUSE, refusal)


def note_unknown(tx: Tx, attempt: str, named_by: str, detail: str) -> None:
    """A purchase that belongs to nobody here, once however often it is heard of. `named_by` makes it this one."""
    id_ = derived("ref", attempt, named_by)
    note = {"id": id_, "reason": UNKNOWN, "attempt": attempt, "detail": detail, "received_at": tx.now}
    tx.execute(_NOTE[tx.dialect], note)


def trim_refusals(tx: Tx, keep_newest: int) -> None:
    """What was bought and lost stays: no flood of forged calls may wipe it out, and who has no tag adds none."""
    oldest = tx.execute(_OLDEST_KEPT, {"n": keep_newest}).scalar()
    if oldest is not None:
        tx.execute(_DROP_REFUSALS, {"at": oldest})
