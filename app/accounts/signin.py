"""Signing a browser in: a link that works once within 15 minutes becomes a session, kept as a cookie."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, insert, update

from app.accounts.model import SessionRow, SigninRow
from app.accounts.secrets import Secret, hashed
from app.core.principal import EVERYTHING_IN_A_WORKSPACE
from app.store.columns import table
from app.store.write import Tx

LINK_LIFETIME = timedelta(minutes=15)
SESSION_LIFETIME = timedelta(days=14)

_S = table(SigninRow)
_OFFER = insert(_S)
_USE = (
    update(_S)
    .where(_S.c.sha256 == bindparam("h"), _S.c.used_at.is_(None), _S.c.expires_at > bindparam("now"))
    .values(used_at=bindparam("now"))
    .returning(_S.c.workspace)
)
_BEGIN = insert(table(SessionRow))


def create_signin(tx: Tx, ticket: Secret, workspace: str) -> None:
    """Whoever shows the ticket in time is signed in to `workspace`."""
    row = {"sha256": ticket.sha256, "workspace": workspace, "created_at": tx.now, "expires_at": tx.now + LINK_LIFETIME}
    tx.execute(_OFFER, row)


def use_signin(tx: Tx, ticket: str, session: str, cookie: Secret) -> bool:
    """Begin a session for the ticket; false when it was used before, is too old, or never was one."""
    workspace = tx.execute(_USE, {"h": hashed(ticket), "now": tx.now}).scalar_one_or_none()
    if workspace is None:
        return False
    row = {
        "id": session,
        "workspace": workspace,
        "sha256": cookie.sha256,
        "scopes": sorted(EVERYTHING_IN_A_WORKSPACE),
        "created_at": tx.now,
        "expires_at": tx.now + SESSION_LIFETIME,
    }
    tx.execute(_BEGIN, row)
    return True
