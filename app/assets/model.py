"""The record of a picture: where it lies, what it is, and where it came from. Everything a person may ask about it
later is written here on the day it is kept."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import BigInteger, CheckConstraint, Column, Index, UniqueConstraint, text
from sqlmodel import Field

from app.store.columns import Row, json_column, state_column, text_column


class AssetKind(StrEnum):
    """`generated` came out of a job; the others were sent in, to be looked at, to be drawn from, or to say where."""

    GENERATED = "generated"
    UPLOAD = "upload"
    REFERENCE = "reference"
    MASK = "mask"


_LOOSE = text("NOT attached AND deleted_at IS NULL")


class AssetRow(Row, table=True):
    """`attached` turns true when something first uses it; until then the sweep may take it. `deleted_at` makes the row
    a tombstone: the files go, the record of what there was stays."""

    __tablename__ = "assets"
    __table_args__ = (
        UniqueConstraint("job", "output"),
        Index("ix_assets_listing", "workspace", "created_at", "id"),
        Index("ix_assets_loose", "created_at", postgresql_where=_LOOSE, sqlite_where=_LOOSE),
        CheckConstraint(f"kind IN ({', '.join(repr(str(kind)) for kind in AssetKind)})", name="kind"),
    )

    id: str = Field(primary_key=True)
    workspace: str
    job: str | None = None
    output: int | None = None
    kind: AssetKind = Field(sa_column=state_column(AssetKind))
    key: str
    thumbnail_key: str
    content_type: str
    width: int
    height: int
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str
    crc32: str
    colour: str
    placeholder: str = Field(sa_column=text_column())
    filename: str
    source_url: str | None = Field(default=None, sa_column=text_column(nullable=True))
    provenance: dict[str, Any] = Field(sa_column=json_column())
    attached: bool
    created_at: datetime
    deleted_at: datetime | None = None


class Provenance(BaseModel):
    """How a picture came to be. Of an upload only `parents` and `made_by_ai` are ever known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    arguments: dict[str, Any] | None = None
    seed: str | None = None
    prompt: str | None = None
    prompt_version: str | None = None
    references: list[str] = []
    parents: list[str] = []
    credits: int | None = None
    micro_usd: int | None = None
    latency: float | None = None
    made_by_ai: bool = False


class AssetView(BaseModel):
    """A picture as it stands inside a job. The addresses work without a key, for an hour; ask again for fresh ones.
    They are null once the picture is deleted."""

    id: str
    url: str | None
    thumbnail_url: str | None
    content_type: str
    width: int
    height: int
    size: int
    sha256: str


class AssetDetail(AssetView):
    """A picture with its record."""

    object: Literal["asset"] = "asset"
    job: str | None
    output: int | None
    kind: AssetKind
    filename: str
    source_url: str | None
    crc32: str
    colour: str
    placeholder: str
    provenance: Provenance
    created_at: datetime
