"""Pictures sent in, as files or by address. All or nothing: when one of twenty cannot be taken, none is, and the
problem says which one and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import select

from app.assets.addresses import asset_details
from app.assets.keep import NewAsset, insert_asset, keep, scratch_folder
from app.assets.model import AssetDetail, AssetKind, AssetRow
from app.assets.names import redacted, shown_filename
from app.assets.pieces import NotAPicture
from app.core.errors import FieldError, InvalidRequest
from app.core.idempotency import IdempotencyKey
from app.core.ids import derived
from app.core.principal import Principal
from app.ports import FetchFailed, FetchRefused
from app.services import Services
from app.store.columns import table
from app.store.idempotency import once, recalled
from app.store.write import Tx
from app.web.operation import Reply, Upload

MOST = 20


class UploadForm(BaseModel):
    """`files` and `url` may each come several times, together at most 20."""

    model_config = ConfigDict(extra="forbid")

    files: list[Upload] = Field(default=[], max_length=MOST, description="PNG, JPEG, WebP or AVIF, at most 25 MB each.")
    url: list[str] = Field(default=[], max_length=MOST, description="Public https addresses to fetch pictures from.")
    kind: Literal["upload", "reference", "mask"] = "upload"


class Uploaded(BaseModel):
    """In the order they were sent: files first, then those fetched."""

    data: list[AssetDetail]


class CannotFetch(InvalidRequest):
    """The address could not be fetched"""

    slug = "cannot-fetch"
    way_out = "Use a public https address that answers with the picture itself, or upload the file."


@dataclass(frozen=True)
class _Source:
    pointer: str
    name: str
    file: Path
    url: str | None = None


async def upload_assets(
    services: Services, principal: Principal, form: UploadForm, idempotency: IdempotencyKey | None
) -> Reply[Uploaded]:
    if not 1 <= len(form.files) + len(form.url) <= MOST:
        wrong = FieldError("/form/files", f"Send 1 to {MOST} pictures at once.", "count")
        raise InvalidRequest(wrong.detail, errors=[wrong])
    if (known := await recalled(services.db, principal.workspace, idempotency)) is not None:
        before = await _as_recorded(services, known.answer.split())
        return Reply(Uploaded(data=await asset_details(services, before)), 201, {"Idempotent-Replayed": "true"})
    rows: list[AssetRow] = []
    async with _sources(services, form) as sources:
        for number, source in enumerate(sources):
            asset = _asset_id(services, principal.workspace, idempotency, number)
            rows.append(await _kept(services, principal.workspace, asset, AssetKind(form.kind), source))
    await services.db.write(_recording(principal.workspace, idempotency, rows))
    if idempotency is not None:
        rows = await _as_recorded(services, [row.id for row in rows])
    return Reply(Uploaded(data=await asset_details(services, rows)), status=201)


@asynccontextmanager
async def _sources(services: Services, form: UploadForm) -> AsyncIterator[list[_Source]]:
    """What was sent, and what is fetched, as local files."""
    sent = [_Source(f"/form/files/{n}", file.filename, file.path) for n, file in enumerate(form.files)]
    async with scratch_folder(services) as folder:
        fetched = [await _fetched(services, url, folder / str(n), f"/form/url/{n}") for n, url in enumerate(form.url)]
        yield sent + fetched


async def _fetched(services: Services, url: str, into: Path, pointer: str) -> _Source:
    try:
        await services.fetcher.fetch(url, into, purpose="user", max_bytes=services.rules.upload_max_bytes)
    except (FetchRefused, FetchFailed) as error:
        wrong = FieldError(pointer, str(error), "cannot-fetch")
        raise CannotFetch(wrong.detail, errors=[wrong]) from None
    return _Source(pointer, unquote(urlsplit(url).path), into, redacted(url))


async def _kept(services: Services, workspace: str, asset: str, kind: AssetKind, source: _Source) -> AssetRow:
    new = NewAsset(asset, workspace, kind, filename=source.name, source_url=source.url)
    try:
        return await keep(services, source.file, new)
    except NotAPicture as refused:
        wrong = FieldError(source.pointer, refused.reason, refused.slug)
        raise NotAPicture(f"{shown_filename(source.name)}: {refused.reason}", errors=[wrong]) from None


def _asset_id(services: Services, workspace: str, key: IdempotencyKey | None, number: int) -> str:
    """With a key the ids follow from it, so that an upload sent twice is stored once."""
    if key is None:
        return services.ids.new("asset")
    return derived("asset", workspace, key.key, key.fingerprint, number)


def _recording(workspace: str, key: IdempotencyKey | None, rows: list[AssetRow]) -> Callable[[Tx], None]:
    def record_upload(tx: Tx) -> None:
        """The rows, unless this upload was recorded before: then the same ids are there already."""
        if once(tx, workspace, key, " ".join(row.id for row in rows)) is None:
            for row in rows:
                insert_asset(tx, row)

    return record_upload


async def _as_recorded(services: Services, ids: list[str]) -> list[AssetRow]:
    """The rows in that order, as the first of two equal uploads recorded them."""
    async with services.db.read() as session:
        found = await session.exec(select(AssetRow).where(table(AssetRow).c.id.in_(ids)))
        by_id = {row.id: row for row in found}
    return [by_id[asset] for asset in ids]
