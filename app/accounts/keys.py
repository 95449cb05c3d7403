"""Keys of programs: made, listed, revoked. The text of a key is known to its owner alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import bindparam, func, insert, or_, tuple_, update
from sqlmodel import select as select_rows
from sqlmodel.ext.asyncio.session import AsyncSession

from app.accounts.model import SYSTEM, KeyRow
from app.accounts.secrets import Secret, key_prefix
from app.core.errors import NotFound
from app.core.principal import Scope
from app.store.columns import table
from app.store.write import Tx

_T = table(KeyRow)
_OWNER = func.coalesce(_T.c.workspace, SYSTEM)
_INSERT = insert(_T)
_REVOKE = (
    update(_T)
    .where(_T.c.id == bindparam("i"), bindparam("w") == _OWNER, _T.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"))
)
_TOUCH = (
    update(_T)
    .where(_T.c.id == bindparam("i"), or_(_T.c.last_used_at.is_(None), _T.c.last_used_at < bindparam("before")))
    .values(last_used_at=bindparam("at"))
)


def new_row(
    key: str,
    secret: Secret,
    *,
    workspace: str | None,
    name: str,
    scopes: Collection[Scope],
    now: datetime,
    expires_at: datetime | None = None,
) -> KeyRow:
    """`workspace` none: an operator's."""
    return KeyRow(
        id=key,
        workspace=workspace,
        name=name,
        prefix=key_prefix(key, live=secret.text.startswith("dk_live_")),
        sha256=secret.sha256,
        scopes=sorted(scopes),
        created_at=now,
        expires_at=expires_at,
    )


def create_key(tx: Tx, row: KeyRow) -> None:
    tx.execute(_INSERT, row.model_dump())


def revoke_key(tx: Tx, workspace: str, key: str) -> None:
    """It stops within a second, and its open streams end within two, everywhere.

    Raises:
        NotFound: this workspace has no such key, or it was revoked before.
    """
    if tx.execute(_REVOKE, {"i": key, "w": workspace, "at": tx.now}).rowcount != 1:
        raise NotFound(f"There is no key {key[:40]!r} here.")


def touch_key(tx: Tx, key: str, before: datetime) -> None:
    """Note that it was used, unless that was noted since `before`."""
    tx.execute(_TOUCH, {"i": key, "before": before, "at": tx.now})


async def list_keys(
    session: AsyncSession, workspace: str, limit: int, before: tuple[datetime, str] | None = None
) -> Sequence[KeyRow]:
    """Keys that are not revoked, newest first, from `before` on."""
    wanted = select_rows(KeyRow).where(workspace == _OWNER, _T.c.revoked_at.is_(None))
    if before is not None:
        wanted = wanted.where(tuple_(_T.c.created_at, _T.c.id) < before)
    return (await session.exec(wanted.order_by(_T.c.created_at.desc(), _T.c.id.desc()).limit(limit))).all()
