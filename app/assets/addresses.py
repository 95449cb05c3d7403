"""The addresses of pictures: for people and pages (signed, for an hour), and for the provider that is to draw from
one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from app.assets.keep import THUMBNAIL_TYPE
from app.assets.model import AssetDetail, AssetRow, AssetView, Provenance
from app.assets.names import safe_filename
from app.assets.serving import given_out
from app.services import Services


async def asset_view(services: Services, row: AssetRow) -> AssetView:
    url, thumbnail_url = await _addresses(services, row)
    return AssetView(
        id=row.id,
        url=url,
        thumbnail_url=thumbnail_url,
        content_type=row.content_type,
        width=row.width,
        height=row.height,
        size=row.size,
        sha256=row.sha256,
    )


async def asset_details(services: Services, rows: Sequence[AssetRow]) -> list[AssetDetail]:
    return [await asset_detail(services, row) for row in rows]


async def asset_detail(services: Services, row: AssetRow) -> AssetDetail:
    seen = await asset_view(services, row)
    return AssetDetail(
        **seen.model_dump(),
        job=row.job,
        output=row.output,
        kind=row.kind,
        filename=row.filename,
        source_url=row.source_url,
        crc32=row.crc32,
        colour=row.colour,
        placeholder=row.placeholder,
        provenance=Provenance.model_validate(row.provenance),
        created_at=row.created_at,
    )


async def reference_url(services: Services, row: AssetRow, *, needed_for: timedelta) -> str:
    """An address the provider can read for `needed_for` and a while longer: the bucket's, where it can read that; else
    the picture is placed in the provider's own storage, without ever being whole in memory.

    Raises:
        NotFound: the picture is gone.
        Unavailable: the bucket, or the provider's storage, is away.
    """
    if services.blobs.provider_can_read:
        lifetime = needed_for + timedelta(seconds=services.rules.reference_lifetime)
        return await services.blobs.url(
            row.key, lifetime=lifetime, content_type=row.content_type, filename=row.filename
        )
    return await services.provider.place(
        given_out(services, row.key), size=row.size, content_type=row.content_type, name=row.key.rpartition("/")[2]
    )


async def _addresses(services: Services, row: AssetRow) -> tuple[str | None, str | None]:
    if row.deleted_at is not None:
        return None, None
    small_name = safe_filename(f"{row.filename.rpartition('.')[0]} thumbnail.webp", "webp")
    return (
        await _address(services, row.key, row.content_type, row.filename),
        await _address(services, row.thumbnail_key, THUMBNAIL_TYPE, small_name),
    )


async def _address(services: Services, key: str, content_type: str, filename: str) -> str:
    lifetime = timedelta(seconds=services.rules.url_lifetime)
    url = await services.blobs.url(key, lifetime=lifetime, content_type=content_type, filename=filename)
    return services.base_url + url if url.startswith("/") else url
