"""What only a bucket has: addresses that others serve, parts, and the words for what goes wrong with it."""

import os
import resource
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app.adapters import s3
from app.adapters.s3 import Bucket, S3Blobs
from app.core.errors import NotFound, StorageFull, Unavailable
from tests.contracts.moto import BUCKET, Moto

PICTURE = os.urandom(100_000)
ASKED = {"lifetime": timedelta(hours=1), "content_type": "image/png", "filename": 'a "b" ü.png'}
SPACES = Bucket("pictures", "fra1", "key", "secret", "https://fra1.digitaloceanspaces.com")


@asynccontextmanager
async def opened(bucket: Bucket) -> AsyncIterator[S3Blobs]:
    blobs = S3Blobs(bucket)
    try:
        yield blobs
    finally:
        await blobs.close()


def _asked(address: str) -> HTTPResponse:
    """By somebody without credentials."""
    answer = urllib.request.urlopen(address)
    assert isinstance(answer, HTTPResponse)
    return answer


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(PICTURE)
    return path


async def test_a_signed_address_serves_the_file_with_type_and_name(believing_moto: Moto, picture: Path) -> None:
    async with opened(believing_moto.bucket()) as blobs:
        await blobs.put("w/url/x.png", picture, content_type="image/png")
        address = await blobs.url("w/url/x.png", **ASKED)  # type: ignore[arg-type]

    with _asked(address) as answer:
        assert answer.read() == PICTURE
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''a%20%22b%22%20%C3%BC.png"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_addresses_at_spaces_have_the_bucket_in_front_once() -> None:
    async with opened(SPACES) as blobs:
        address = urlsplit(await blobs.url("w/x.png", **ASKED))  # type: ignore[arg-type]

    assert (address.scheme, address.netloc, address.path) == (
        "https",
        "pictures.fra1.digitaloceanspaces.com",
        "/w/x.png",
    )
    assert parse_qs(address.query)["X-Amz-Expires"] == ["3600"]
    assert parse_qs(address.query)["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


@pytest.mark.parametrize(
    ("endpoint", "style"),
    [
        (None, "virtual"),
        ("https://fra1.digitaloceanspaces.com", "virtual"),
        ("https://s3.eu-central-1.amazonaws.com", "virtual"),
        ("http://127.0.0.1:9000", "path"),
        ("http://localhost:9000", "path"),
        ("http://minio:9000", "path"),
        ("http://[::1]:9000", "path"),
    ],
)
def test_the_style_of_address_follows_from_the_endpoint(endpoint: str | None, style: str) -> None:
    assert Bucket("b", "r", "k", "s", endpoint).addressing == style


async def test_a_signature_lasts_a_week_at_most() -> None:
    async with opened(SPACES) as blobs:
        address = await blobs.url("x", lifetime=timedelta(days=30), content_type="image/png", filename="x")

    assert parse_qs(urlsplit(address).query)["X-Amz-Expires"] == ["604800"]


async def test_with_a_cdn_addresses_are_its_own_and_files_public() -> None:
    bucket = Bucket("b", "fra1", "k", "s", "https://fra1.digitaloceanspaces.com", cdn="https://cdn.example/")
    async with opened(bucket) as blobs:
        assert await blobs.url("w/a b/x.png", **ASKED) == "https://cdn.example/w/a%20b/x.png"  # type: ignore[arg-type]

    assert bucket.acl == "public-read"
    assert SPACES.acl is None


async def test_a_large_file_goes_in_parts(
    believing_moto: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_WHOLE_UP_TO", 6_000_000)
    monkeypatch.setattr(s3, "_PART", 5 * 1024 * 1024)
    large = tmp_path / "large"
    large.write_bytes(os.urandom(12_000_000))

    async with opened(believing_moto.bucket()) as blobs:
        await blobs.put("w/parts/x.png", large, content_type="image/png")

        assert b"".join([chunk async for chunk in blobs.read("w/parts/x.png")]) == large.read_bytes()


async def test_parts_of_an_upload_that_fails_are_given_up(
    believing_moto: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_WHOLE_UP_TO", 10)
    monkeypatch.setattr(s3, "_PART", 20)  # too small for S3, which says so at the end
    large = tmp_path / "large"
    large.write_bytes(bytes(50))

    async with opened(believing_moto.bucket()) as blobs:
        with pytest.raises(Unavailable, match="EntityTooSmall"):
            await blobs.put("w/torn/x.png", large, content_type="image/png")

        assert await blobs.stat("w/torn/x.png") is None
        assert not (await blobs._call("list_multipart_uploads")).get("Uploads")


async def test_memory_does_not_grow_with_the_file(
    believing_moto: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_WHOLE_UP_TO", 50_000_000)
    files = {}
    for name, size in (("small", 1_000_000), ("whole", 48_000_000), ("parts", 120_000_000)):
        files[name] = tmp_path / name
        with files[name].open("wb") as file:
            file.truncate(size)

    async with opened(believing_moto.bucket()) as blobs:
        await blobs.put("w/memory/small", files["small"], content_type="image/png")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await blobs.put("w/memory/whole", files["whole"], content_type="image/png")
        await blobs.put("w/memory/parts", files["parts"], content_type="image/png")
        received = 0
        async for chunk in blobs.read("w/memory/parts"):
            received += len(chunk)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        await blobs.delete("w/memory/parts")

    assert received == 120_000_000
    assert grown < 60_000, f"grew by {grown} KB"  # a few parts of 16 MB on their way through


async def test_a_wrong_secret_is_said_as_such(strict_moto: Moto, picture: Path) -> None:
    async with opened(strict_moto.bucket(secret_key="wrong")) as blobs:
        with pytest.raises(Unavailable, match="The secret does not belong to the access key"):
            await blobs.check()


async def test_an_unknown_key_is_said_as_such(strict_moto: Moto) -> None:
    async with opened(strict_moto.bucket(access_key="AKIAUNKNOWN")) as blobs:
        with pytest.raises(Unavailable, match="The access key is not known there"):
            await blobs.check()


async def test_an_anonymous_reader_gets_nothing_from_a_strict_bucket(strict_moto: Moto, picture: Path) -> None:
    async with opened(strict_moto.bucket()) as blobs:
        await blobs.put("w/private/x.png", picture, content_type="image/png")

    with pytest.raises(urllib.error.HTTPError) as refused:
        _asked(f"{strict_moto.endpoint}/{BUCKET}/w/private/x.png")
    assert refused.value.code == 403
    refused.value.close()


async def test_a_missing_bucket_is_said_as_such(believing_moto: Moto, picture: Path) -> None:
    async with opened(believing_moto.bucket(name="no-such-bucket")) as blobs:
        with pytest.raises(Unavailable, match="There is no such bucket"):
            await blobs.check()
        with pytest.raises(Unavailable, match="There is no such bucket"):
            assert [blob async for blob in blobs.keys("")]


async def test_a_server_that_is_away_is_unavailable(picture: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with opened(Bucket("b", "us-east-1", "k", "s", endpoint)) as blobs:
            with pytest.raises(Unavailable, match="out of reach"):
                await blobs.put("w/x.png", picture, content_type="image/png")


@pytest.mark.parametrize(
    ("code", "problem"),
    [("QuotaExceeded", StorageFull), ("507", StorageFull), ("NoSuchKey", NotFound), ("Whatever", Unavailable)],
)
def test_each_answer_of_a_bucket_has_its_problem(code: str, problem: type[Exception]) -> None:
    from botocore.exceptions import ClientError

    with pytest.raises(problem), s3._bucket_errors("store a file"):
        raise ClientError({"Error": {"Code": code}}, "PutObject")


async def test_proxies_of_the_environment_are_not_used(
    believing_moto: Moto, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async with opened(believing_moto.bucket()) as blobs:
        await blobs.check()
