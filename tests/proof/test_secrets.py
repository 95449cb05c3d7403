"""No secret is told (promise I20): every secret of an installation is a canary, everything is used with DEBUG log
lines, and the canaries are looked for in all that comes out or is kept. About 15 s."""

from __future__ import annotations

import base64
import os
import re
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.signatures import derive
from tests.running import Service, running, sandboxed, schema_of_its_own
from tests.waiting import until_blocking

CANARIES: dict[str, Any] = {
    "DARKROOM_SECRET": "canary-secret-0123456789-0123456789-abcdef",
    "FAL_KEY": "c0ffee00-cafe-4bad-8bad-c0ffeec0ffee:feedfacefeedfacefeedfacefeedface",
    "ANTHROPIC_API_KEY": "sk-ant-canary-0123456789abcdef",
    "DARKROOM_METRICS_TOKEN": "canary-metrics-0123456789",
}


@dataclass
class House:
    """What was found out while everything was used: secrets by name, and all that was said, by where."""

    service: Service
    secrets: dict[str, str]
    said: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("canaries"), speed=50, DARKROOM_LOG_LEVEL="debug", **CANARIES) as service:
        house = House(service, dict(CANARIES))
        _use_everything(house)
        service.stop()
        house.said["log"] = service.said.read_bytes()
        house.said["database"] = _dump(service)
        yield house


def _use_everything(house: House) -> None:
    service, secrets = house.service, house.secrets
    secrets["key"] = service.key.rsplit("_", 2)[1]
    with service.client() as web:
        made = web.post("/api/v1/keys", json={"name": "canary"}).json()
        secrets["new key"] = made["key"].rsplit("_", 2)[1]
        secrets["cookie"] = _signed_in(house)
        orders = ["a canary", "[[refuse]] a canary", "[[fail]] a canary", "[[error]] a canary"]
        jobs = [web.post("/api/v1/jobs", json=_order(prompt)).json() for prompt in orders]
        for job in jobs:
            until_blocking(lambda job=job: _over(web, job), within=40)  # type: ignore[misc]
        shown = web.get(f"/api/v1/jobs/{jobs[0]['id']}").json()
        for name in ("url", "thumbnail_url"):
            address = shown["assets"][0][name]
            secrets[f"signed {name}"] = urllib.parse.urlsplit(address).path.rpartition("/")[2]
            assert web.get(address).status_code == 200
        house.said["events"] = web.get("/api/v1/events", params={"limit": 200}).content
        house.said["openapi"] = web.get("/openapi.json").content
        house.said["deliveries"] = web.get("/api/v1/deliveries").content
        house.said["attempts"] = web.get(f"/api/v1/jobs/{jobs[0]['id']}/attempts").content
        house.said["metrics"] = web.get(
            "/metrics", headers={"Authorization": f"Bearer {CANARIES['DARKROOM_METRICS_TOKEN']}"}
        ).content
        house.said["errors"] = b"\n".join(_errors(house, web))
    tag_key = derive(CANARIES["DARKROOM_SECRET"].encode(), "webhooks")
    secrets["tag key"] = tag_key.hex()
    with closing(sqlite3.connect(service.folder / "fal" / "sandbox.sqlite")) as box:
        for number, (url,) in enumerate(box.execute("SELECT webhook FROM requests")):
            secrets[f"tag {number}"] = str(url).rpartition(".")[2]


def _order(prompt: str) -> dict[str, object]:
    return {"model": "fal-ai/flux/schnell", "input": {"prompt": prompt, "image_size": {"width": 64, "height": 64}}}


def _over(web: httpx.Client, job: Mapping[str, str]) -> bool:
    return web.get(f"/api/v1/jobs/{job['id']}").json()["status"] in {"completed", "failed", "cancelled"}


def _signed_in(house: House) -> str:
    """A ticket, which is a canary too, becomes the session's cookie."""
    service = house.service
    link = service.beside("app", "admin", "signin")
    assert link.wait() == 0
    [ticket] = re.findall(r"ticket=(\w+)", link.text())
    house.secrets["ticket"] = ticket
    with httpx.Client(base_url=service.base_url, trust_env=False) as browser:
        answer = browser.get("/signin", params={"ticket": ticket})
        assert answer.status_code == 307
        cookie = str(browser.cookies["darkroom_session"])
        assert browser.get("/").status_code == 200
        house.said["used ticket"] = browser.get("/signin", params={"ticket": ticket}).content
    return cookie.rpartition("_")[2]


def _errors(house: House, web: httpx.Client) -> Iterator[bytes]:
    """Secrets where they do not belong: they are refused without being repeated."""
    for secret in house.secrets.values():
        quoted = urllib.parse.quote(secret, safe="")
        yield web.get(f"/api/v1/jobs?cursor={quoted}").content
        yield web.get("/api/v1/jobs", params={"status": secret}).content
        yield web.post("/api/v1/jobs", json={"model": "fal-ai/flux/schnell", "input": {"seed": secret}}).content
        yield web.post("/api/v1/keys", json={"name": 7, "expires_at": secret}).content
        yield web.post("/api/v1/jobs", content=secret.encode(), headers={"Content-Type": "application/json"}).content
        yield web.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).content
        yield web.get("/api/v1/me", headers={"Authorization": f"Basic {secret}"}).content
        yield web.get("/metrics", headers={"Authorization": f"Bearer x{secret}"}).content
        yield web.get(f"/files/{quoted}x").content
        yield web.post(f"/api/webhooks/fal/att_x/{quoted}").content


def _dump(service: Service) -> bytes:
    """All that is kept in the data folder, but for the files whose whole purpose is to keep a secret."""
    kept = {"secret", "dev-key"}
    return b"\n".join(
        path.read_bytes()
        for path in sorted((service.folder / "data").rglob("*"))
        if path.is_file() and path.name not in kept
    )


def _shapes(secret: str) -> set[bytes]:
    """As it is, and as it could be hidden from a simple search."""
    raw = secret.encode()
    basic = base64.b64encode(raw).rstrip(b"=")
    return {raw, urllib.parse.quote(secret, safe="").encode(), basic, raw.hex().encode(), repr(raw)[2:-1].encode()}


PLACES = ("log", "database", "events", "openapi", "deliveries", "attempts", "metrics", "errors", "used ticket")


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_told(house: House, place: str) -> None:
    told = {name for name, secret in house.secrets.items() if any(s in house.said[place] for s in _shapes(secret))}

    assert told == set()


def test_every_secret_was_used(house: House) -> None:
    assert len(house.secrets) >= 14
    assert min(map(len, house.secrets.values())) >= 16
    assert house.said["log"].count(b'"event": "request"') > 100
    assert house.said.keys() == set(PLACES)


def test_the_database_password_is_not_told(tmp_path: Path) -> None:
    """PostgreSQL of this machine asks for none, so any will do; one that is not there is complained about."""
    password = "canary-password-0123456789"
    with schema_of_its_own() as database, sandboxed(tmp_path) as sandbox:
        url = re.sub(r"//([^:@/]*)(:[^@]*)?@", rf"//\1:{password}@", database)
        with running(tmp_path, database=url, sandbox=sandbox, DARKROOM_LOG_LEVEL="debug") as service:
            with service.client() as web:
                assert web.get("/readyz").status_code in (200, 503)
            wrong = service.beside("app", "serve", DARKROOM_DATABASE_URL=re.sub(r"@[^/]*/", "@127.0.0.1:1/", url))
            assert wrong.wait() != 0
            assert "127.0.0.1" in wrong.text() or wrong.text()
            assert password not in service.text() + wrong.text()


def test_the_bucket_secret_is_not_told(tmp_path: Path) -> None:
    secret = "canary/bucket+secret/0123456789abcdefgh"
    bucket: dict[str, Any] = {
        "DARKROOM_STORAGE_URL": "s3://canaries",
        "DARKROOM_S3_ENDPOINT": "http://127.0.0.1:1",
        "DARKROOM_S3_ACCESS_KEY_ID": "canary-access-key",
        "DARKROOM_S3_SECRET_ACCESS_KEY": secret,
        "DARKROOM_LOG_LEVEL": "debug",
    }
    with running(tmp_path, speed=50, **bucket) as service, service.client() as web:
        said = web.get("/readyz").text
        png = b"\x89PNG\r\n\x1a\n" + os.urandom(20)
        said += web.post("/api/v1/uploads", files={"files": ("a.png", png)}).text
        said += service.text()

    assert not any(shape.decode() in said for shape in _shapes(secret))
