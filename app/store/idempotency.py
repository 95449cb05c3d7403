"""Idempotency keys: the answer to an intent, kept in the transaction that carried it out, so that asking again gives
the same answer and does nothing twice. Refused requests leave no record and do not use up the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlmodel import Field

from app.core.errors import FieldError, KeyReused
from app.core.idempotency import IdempotencyKey
from app.store.columns import Row, insert_if_new, table, text_column
from app.store.database import Database
from app.store.write import Tx


class IdempotencyRow(Row, table=True):
    __tablename__ = "idempotency_keys"

    workspace: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    answer: str = Field(sa_column=text_column())
    created_at: datetime = Field(index=True)


@dataclass(frozen=True)
class Replayed:
    """This intent was carried out before; `answer` is the body given then."""

    answer: str


_T = table(IdempotencyRow)
_REMEMBER = insert_if_new(IdempotencyRow)
_RECALL = select(_T.c.fingerprint, _T.c.answer).where(_T.c.workspace == bindparam("w"), _T.c.key == bindparam("k"))


async def recalled(db: Database, workspace: str, key: IdempotencyKey | None) -> Replayed | None:
    """What was answered to this intent before. To be asked first: the world may have changed so much since that the
    same request would be refused by now.

    Raises:
        KeyReused: the key was used with another request.
    """
    if key is None:
        return None
    async with db.read() as session:
        row = await session.get(IdempotencyRow, (workspace, key.key))
    return _same(key, row.fingerprint, row.answer) if row else None


def once(tx: Tx, workspace: str, key: IdempotencyKey | None, answer: str) -> Replayed | None:
    """Claim `key` for this write, or say what was answered to it before. Twins in flight wait here for each other.

    Raises:
        KeyReused: the key was used with another request.
    """
    if key is None:
        return None
    row = {
        "workspace": workspace,
        "key": key.key,
        "fingerprint": key.fingerprint,
        "answer": answer,
        "created_at": tx.now,
    }
    if tx.execute(_REMEMBER[tx.dialect], row).rowcount == 1:
        return None
    fingerprint, before = tx.execute(_RECALL, {"w": workspace, "k": key.key}).one()
    return _same(key, fingerprint, before)


def _same(key: IdempotencyKey, fingerprint: str, answer: str) -> Replayed:
    if fingerprint != key.fingerprint:
        wrong = FieldError("/header/idempotency-key", "Use a new key for a new request.", "key-reused")
        raise KeyReused("This Idempotency-Key was used with another request.", errors=[wrong])
    return Replayed(answer)
