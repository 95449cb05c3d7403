"""fal's storage: uploads by every path, downloads without a key, expiry."""

import gc
import io
import warnings
from collections.abc import Callable
from typing import Any

import fal_client
import httpx
import pytest
from PIL import Image

from tests.waiting import until_blocking


def _png(colour: str = "teal", size: tuple[int, int] = (200, 120)) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, colour).save(target, "png")
    return target.getvalue()


def _upload(fal: fal_client.SyncClient, data: bytes, kind: str) -> str:
    """Fal's client leaves the connection of an upload open; collect it here, where the warning is understood."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        url = fal.upload(data, kind)
        gc.collect()
    return str(url)


def test_the_python_client_uploads_and_anybody_downloads(fal: fal_client.SyncClient) -> None:
    url = _upload(fal, _png(), "image/png")
    answer = httpx.get(url, trust_env=False, verify=False)

    assert answer.content == _png()
    assert answer.headers["content-type"] == "image/png"
    assert int(answer.headers["content-length"]) == len(_png())


def test_the_python_client_falls_back_to_the_other_path(
    fal: fal_client.SyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fal_client.client, "CDN_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(fal_client.client, "MAX_ATTEMPTS", 1)
    url = _upload(fal, _png(), "image/png")

    assert httpx.get(url, trust_env=False, verify=False).content == _png()


def test_the_python_client_uploads_in_parts(fal: fal_client.SyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 90_000  # 23 MB: three parts
    monkeypatch.setattr(fal_client.client, "MULTIPART_THRESHOLD", 1_000_000, raising=False)
    url = _upload(fal, data, "application/octet-stream")

    assert httpx.get(url, trust_env=False, verify=False).content == data


def test_ranges_and_heads(fal: fal_client.SyncClient) -> None:
    url = _upload(fal, b"0123456789", "text/plain")
    part = httpx.get(url, headers={"Range": "bytes=2-5"}, trust_env=False, verify=False)

    assert (part.status_code, part.text) == (206, "2345")
    assert part.headers["content-range"] == "bytes 2-5/10"
    assert httpx.head(url, trust_env=False, verify=False).headers["content-length"] == "10"


def test_uploading_needs_a_key_or_a_token(sandbox: Any) -> None:
    nobody = {"Authorization": ""}

    assert sandbox.http.post("/storage/auth/token", json={}, headers=nobody).status_code == 401
    assert sandbox.http.post("/files/upload", content=b"x", headers=nobody).status_code == 401
    assert sandbox.http.post("/storage/upload/initiate", json={}, headers=nobody).status_code == 401


def test_outputs_expire_when_told_to(start: Callable[..., Any]) -> None:
    sandbox = start("--speed", "200")
    wish = {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 300}'}
    body = sandbox.http.post("/fal-ai/flux/schnell", json={"prompt": "x"}, headers=wish).json()
    url = sandbox.result(body).json()["images"][0]["url"]

    assert sandbox.http.get(url).status_code == 200
    until_blocking(lambda: sandbox.http.get(url).status_code == 404)


def test_forgetting_a_request_takes_its_payloads_and_files(sandbox: Any) -> None:
    body = sandbox.submit(prompt="a secret cup").json()
    url = sandbox.result(body).json()["images"][0]["url"]
    gone = sandbox.http.delete(f"/v1/models/requests/{body['request_id']}/payloads")

    assert gone.json() == {"cdn_delete_results": [{"link": url, "exception": None}]}
    assert sandbox.http.get(url).status_code == 404
    assert sandbox.http.get(body["response_url"]).status_code == 404
