"""Files in a bucket: S3 or DigitalOcean Spaces, through aioboto3. Keys are immutable; nothing is overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import quote, urlsplit

from app.core.errors import NotFound, Problem, StorageFull, Unavailable
from app.ports import BlobStat, SignedFile

_CHUNK = 256 * 1024
_WHOLE_UP_TO = 64 * 1024 * 1024
_PART = 16 * 1024 * 1024
_LONGEST_PRESIGNED = timedelta(days=7)  # as far as a version 4 signature reaches
_FOR_EVER = "public, max-age=31536000, immutable"
_PROBE = "probe/darkroom"

_NO_ROOM = {"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "507"}
_GONE = {"NoSuchKey", "404", "NotFound"}
_ADVICE = {
    "NoSuchBucket": "There is no such bucket at this endpoint: create it, or correct its name.",
    "AccessDenied": "The key may not do that in this bucket: give it read and write rights there.",
    "403": "The key may not do that in this bucket: give it read and write rights there.",
    "InvalidAccessKeyId": "The access key is not known there: correct it.",
    "SignatureDoesNotMatch": "The secret does not belong to the access key: correct it, and look at the clock here.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: set it.",
    "PermanentRedirect": "The bucket is in another region: correct the region and the endpoint.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: correct the region.",
    "SlowDown": "The bucket is asked too often; it is tried again later.",
}


@dataclass(frozen=True)
class Bucket:
    """Where the bucket is. `endpoint` comes without the bucket's name in it, as Spaces wants it. With `cdn` files are
    public there, for ever; without it they are private and addresses are signed."""

    name: str
    region: str
    access_key: str
    secret_key: str
    endpoint: str | None = None
    cdn: str | None = None
    provider_can_read: bool = True

    @property
    def addressing(self) -> str:
        """A local server has no name for each bucket; everybody else prefers it to."""
        host = urlsplit(self.endpoint or "").hostname or "amazonaws.com"
        return "virtual" if "." in host and not host.replace(".", "").isdigit() else "path"

    @property
    def acl(self) -> str | None:
        """Spaces decides object by object who may read; Amazon's buckets have a policy for that."""
        return "public-read" if self.cdn and "digitaloceanspaces.com" in (self.endpoint or "") else None


class S3Blobs:
    """One client, opened at the first use and kept."""

    def __init__(self, bucket: Bucket) -> None:
        self.provider_can_read = bucket.provider_can_read
        self._bucket = bucket
        self._open = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._client: Any = None

    async def put(self, key: str, file: Path, *, content_type: str) -> None:
        headers = {"ContentType": content_type, "CacheControl": _FOR_EVER, "ACL": self._bucket.acl}
        given = {name: value for name, value in headers.items() if value}
        size = await asyncio.to_thread(lambda: file.stat().st_size)
        with _bucket_errors("store a file"):
            if size > _WHOLE_UP_TO:
                await self._put_in_parts(key, file, given)
            else:
                await self._put_whole(key, file, given | {"ContentLength": size})

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if end is not None and end <= start:
            return
        wanted = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
        with _bucket_errors("read a file"):
            try:
                found = await self._call("get_object", Key=key, **wanted)
            except Exception as e:
                if _code(e) == "InvalidRange":  # it begins behind the end: no bytes, as on a disk
                    return
                raise
            async with found["Body"] as body:
                async for chunk in body.content.iter_chunked(_CHUNK):
                    yield chunk

    async def stat(self, key: str) -> BlobStat | None:
        try:
            with _bucket_errors("look at a file"):
                found = await self._call("head_object", Key=key)
        except NotFound:
            return None
        return BlobStat(key, found["ContentLength"], found["LastModified"])

    async def delete(self, key: str) -> None:
        with _bucket_errors("delete a file"):  # one by one: deleting many needs a checksum that not every server takes
            await self._call("delete_object", Key=key)

    async def keys(self, prefix: str) -> AsyncIterator[BlobStat]:
        more: dict[str, str] = {}
        while True:
            with _bucket_errors("list files"):
                page = await self._call("list_objects_v2", Prefix=prefix, **more)
            for found in page.get("Contents", ()):
                yield BlobStat(found["Key"], found["Size"], found["LastModified"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def url(self, key: str, *, lifetime: timedelta, content_type: str, filename: str) -> str:
        if self._bucket.cdn:
            return f"{self._bucket.cdn.rstrip('/')}/{quote(key)}"
        asked = {
            "Bucket": self._bucket.name,
            "Key": key,
            "ResponseContentType": content_type,
            "ResponseContentDisposition": f"inline; filename*=UTF-8''{quote(filename, safe='')}",
        }
        seconds = int(min(lifetime, _LONGEST_PRESIGNED).total_seconds())
        client = await self._opened()
        return str(await client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds))

    def open_signed(self, token: str) -> SignedFile:  # noqa: ARG002 - the port's
        raise NotFound("Files are kept in a bucket, and served by it.")

    async def check(self) -> None:
        with NamedTemporaryFile() as probe:
            probe.write(b"probe")
            probe.flush()
            await self.put(_PROBE, Path(probe.name), content_type="text/plain")
        if b"".join([chunk async for chunk in self.read(_PROBE)]) != b"probe":
            raise Unavailable("The bucket gives back something else than was stored in it.")
        await self.delete(_PROBE)

    async def close(self) -> None:
        self._client = None
        await self._open.aclose()

    async def _put_whole(self, key: str, file: Path, headers: dict[str, Any]) -> None:
        with file.open("rb") as body:
            await self._call("put_object", Key=key, Body=body, **headers)

    async def _put_in_parts(self, key: str, file: Path, headers: dict[str, Any]) -> None:
        upload = {"Key": key, "UploadId": (await self._call("create_multipart_upload", Key=key, **headers))["UploadId"]}
        try:
            parts = [part async for part in self._parts(upload, file)]
            await self._call("complete_multipart_upload", MultipartUpload={"Parts": parts}, **upload)
        except BaseException:
            await asyncio.shield(self._call("abort_multipart_upload", **upload))
            raise

    async def _parts(self, upload: dict[str, Any], file: Path) -> AsyncIterator[dict[str, Any]]:
        number = 0
        with file.open("rb") as source:
            while data := await asyncio.to_thread(source.read, _PART):
                number += 1
                stored = await self._call("upload_part", PartNumber=number, Body=data, **upload)
                yield {"PartNumber": number, "ETag": stored["ETag"]}

    async def _call(self, operation: str, **request: Any) -> Any:
        client = await self._opened()
        return await getattr(client, operation)(Bucket=self._bucket.name, **request)

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                session, config = await asyncio.to_thread(_session_and_config, self._bucket)
                self._client = await self._open.enter_async_context(
                    session.client("s3", endpoint_url=self._bucket.endpoint, config=config)
                )
        return self._client


def _session_and_config(bucket: Bucket) -> tuple[Any, Any]:
    """On a thread: the SDK takes a third of a second to import."""
    import aioboto3
    from aiobotocore.config import AioConfig

    session = aioboto3.Session(
        aws_access_key_id=bucket.access_key, aws_secret_access_key=bucket.secret_key, region_name=bucket.region
    )
    config = AioConfig(
        signature_version="s3v4",
        request_checksum_calculation="when_required",  # several servers refuse the checksums of the default
        response_checksum_validation="when_required",
        retries={"mode": "standard", "max_attempts": 3},
        max_pool_connections=32,
        connect_timeout=10,
        read_timeout=60,
        proxies={},
        s3={"addressing_style": bucket.addressing, "payload_signing_enabled": False},
    )
    return session, config


@contextmanager
def _bucket_errors(deed: str) -> Iterator[None]:
    """What the SDK raises, as problems a person can act on."""
    try:
        yield
    except Exception as e:
        if (problem := _problem(e, deed)) is not None:
            raise problem from e
        raise


def _problem(error: Exception, deed: str) -> Problem | None:
    from aiohttp import ClientError as TransportError
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        code = _code(error)
        if code in _GONE:
            return NotFound("There is no such file.")
        if code in _NO_ROOM:
            return StorageFull(f"The bucket is full: could not {deed}.")
        return Unavailable(f"Could not {deed} ({code}). {_ADVICE.get(code, 'It is tried again later.')}")
    if isinstance(error, BotoCoreError | TransportError | TimeoutError):
        return Unavailable(f"Could not {deed}: the bucket is out of reach ({type(error).__name__}).")
    return None


def _code(error: Exception) -> str:
    """The word S3 has for it; a HEAD has none but its status."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
