"""Who may ask: workspaces (the tenants), the keys of programs, the sessions of browsers and the links that begin one.
Of every secret only its SHA-256 is kept.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from app.store.columns import Row, json_column, state_column

SYSTEM = "system"
"""The one workspace that belongs to the installation: operators' keys live in it, and what they should see."""


class WorkspaceKind(StrEnum):
    LIVE = "live"
    TEST = "test"
    SYSTEM = "system"


class WorkspaceRow(Row, table=True):
    __tablename__ = "workspaces"
    __table_args__ = (
        CheckConstraint(f"kind IN ({', '.join(repr(str(kind)) for kind in WorkspaceKind)})", name="kind"),
    )

    id: str = Field(primary_key=True)
    name: str
    kind: WorkspaceKind = Field(sa_column=state_column(WorkspaceKind))
    created_at: datetime


class KeyRow(Row, table=True):
    """`prefix` is the part of the key that people are shown. No `workspace`: it is an operator's."""

    __tablename__ = "keys"
    __table_args__ = (Index("ix_keys_listing", "workspace", "created_at", "id"),)

    id: str = Field(primary_key=True)
    workspace: str | None = None
    name: str
    prefix: str
    sha256: str
    scopes: list[str] = Field(sa_column=json_column())
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class SessionRow(Row, table=True):
    """A browser that is signed in; `sha256` is of its cookie."""

    __tablename__ = "sessions"

    id: str = Field(primary_key=True)
    workspace: str = Field(index=True)
    sha256: str
    scopes: list[str] = Field(sa_column=json_column())
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None


class SigninRow(Row, table=True):
    """A link that signs a browser in, once."""

    __tablename__ = "signins"

    sha256: str = Field(primary_key=True)
    workspace: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
