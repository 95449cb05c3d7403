"""The operations on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.assets.addresses import asset_detail
from app.assets.containers import Kind
from app.assets.keep import THUMBNAIL_TYPE
from app.assets.model import AssetDetail, AssetKind, AssetRow
from app.assets.pieces import NotAPicture
from app.assets.serving import serve, unchanged
from app.assets.shelf import Holder, bury, found, listed
from app.assets.uploads import CannotFetch, upload_assets
from app.core.errors import InUse, NotFound, RangeNotSatisfiable, StorageFull
from app.core.moments import Moment
from app.core.paging import Page, page_of
from app.core.principal import Principal, Scope
from app.services import Services
from app.store.write import Tx
from app.web.operation import Download, Operation, Redirect, Reply

_SERVED = tuple(str(kind) for kind in Kind if kind is not Kind.AVIF)


class AssetsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: AssetKind | None = None
    job: str | None = None
    created_after: Moment | None = Field(default=None, description="This time or later.")
    created_before: Moment | None = Field(default=None, description="Before this time.")
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = None


class ContentQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    variant: Literal["original", "thumb"] = "original"


def operations(holders: Sequence[Holder]) -> tuple[Operation, ...]:
    """`holders` say what must not be deleted yet."""

    async def delete_asset(services: Services, principal: Principal, asset: str) -> None:
        def bury_asset(tx: Tx) -> None:
            bury(tx, principal.workspace, asset, holders)

        await services.db.write(bury_asset)

    return (
        *_OPERATIONS,
        Operation(
            "DELETE",
            "/assets/{asset}",
            delete_asset,
            raises=(NotFound, InUse),
            scope=Scope.ASSETS_WRITE,
            resource="asset",
            summary="Delete a picture; jobs that made or used it keep its id",
        ),
    )


async def list_assets(services: Services, principal: Principal, query: AssetsQuery) -> Page[AssetDetail]:
    place = f"assets:{principal.workspace}"
    async with services.db.read() as session:
        rows = await listed(
            session,
            principal.workspace,
            limit=query.limit + 1,
            before=_position(services.cursors.read(place, query.cursor)) if query.cursor else None,
            kind=query.kind,
            job=query.job,
            since=query.created_after,
            until=query.created_before,
        )
    page = page_of(rows, query.limit, lambda row: services.cursors.write(place, _position_of(row)))
    data = [await asset_detail(services, row) for row in page.data]
    return Page(data=data, has_more=page.has_more, next_cursor=page.next_cursor)


def _position_of(row: AssetRow) -> str:
    return f"{row.created_at.isoformat()} {row.id}"


def _position(text: str) -> tuple[datetime, str]:
    time, _, asset = text.partition(" ")
    return datetime.fromisoformat(time), asset


async def get_asset(services: Services, principal: Principal, asset: str) -> AssetDetail:
    return await asset_detail(services, await _row(services, principal, asset))


async def get_asset_content(
    services: Services,
    principal: Principal,
    asset: str,
    query: ContentQuery,
    range: str | None,
    if_none_match: str | None,
) -> Download | Redirect | Reply[None]:
    row = await _row(services, principal, asset)
    small = query.variant == "thumb"
    key, content_type = (row.thumbnail_key, THUMBNAIL_TYPE) if small else (row.key, row.content_type)
    lifetime = timedelta(seconds=services.rules.url_lifetime)
    url = await services.blobs.url(key, lifetime=lifetime, content_type=content_type, filename=row.filename)
    if not url.startswith("/"):
        return Redirect(url, headers={"Cache-Control": "no-store"})
    return unchanged(key, if_none_match) or await serve(
        services, key, content_type=content_type, filename=row.filename, wanted=range
    )


async def get_signed_file(
    services: Services, token: str, range: str | None, if_none_match: str | None
) -> Download | Reply[None]:
    file = services.blobs.open_signed(token)
    return unchanged(file.key, if_none_match) or await serve(
        services, file.key, content_type=file.content_type, filename=file.filename, wanted=range
    )


async def _row(services: Services, principal: Principal, asset: str) -> AssetRow:
    async with services.db.read() as session:
        return await found(session, principal.workspace, asset)


_OPERATIONS = (
    Operation(
        "POST",
        "/uploads",
        upload_assets,
        status=201,
        raises=(NotAPicture, CannotFetch, StorageFull),
        scope=Scope.ASSETS_WRITE,
        summary="Send in pictures, as files or by address",
        idempotent=True,
        tag="assets",
    ),
    Operation("GET", "/assets", list_assets, scope=Scope.ASSETS_READ, summary="List pictures, newest first"),
    Operation(
        "GET",
        "/assets/{asset}",
        get_asset,
        raises=(NotFound,),
        scope=Scope.ASSETS_READ,
        resource="asset",
        summary="A picture with its record",
    ),
    Operation(
        "GET",
        "/assets/{asset}/content",
        get_asset_content,
        also=(206, 304),
        raises=(NotFound, RangeNotSatisfiable),
        media=_SERVED,
        scope=Scope.ASSETS_READ,
        resource="asset",
        summary="The picture itself, or its thumbnail",
    ),
    Operation(
        "GET",
        "/files/{token}",
        get_signed_file,
        also=(206, 304),
        raises=(NotFound, RangeNotSatisfiable),
        media=_SERVED,
        resource="file",
        summary="A file by the signed address given out for it",
        absolute=True,
        tag="assets",
    ),
)
