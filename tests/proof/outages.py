"""T18: fal, the storage and Redis go away for a while and come back, under load; and the storage answers wrongly, late
or not at all after it has taken a file. What needs them waits and says so, nothing is lost or paid twice, and all is
well within half a minute of their return without a restart of ours.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.contracts.moto import BUCKET, Moto, moto
from tests.inside import newcomer
from tests.proof.both_sides import examine, until_quiet
from tests.proof.customers import Book, customers, not_completed, request
from tests.proof.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.proof.scoreboard import Effort, Score
from tests.running import Service, running, schema_of_its_own
from tests.stories.desk import notices, operators
from tests.waiting import until_blocking

NORMAL_WITHIN = 30.0
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100"
    "c9fe92ef0000000049454e44ae426082"
)


@dataclass(frozen=True)
class House:
    """A service, and how what it depends on goes and comes back."""

    service: Service
    go: Callable[[], None]
    come: Callable[[], None]


@dataclass(frozen=True)
class Outage:
    """`check` is the line of /readyz that says so meanwhile; without what is not `needed` we are ready all the same,
    and nobody has to be told."""

    name: str
    house: Callable[[Path, float], AbstractContextManager[House]]
    check: str
    needed: bool = True


def prove_outages(effort: Effort, folder: Path) -> Iterator[Score]:
    """In full at the true pace, all at the same time."""
    lengths = (30.0, 120.0) if effort.full else (3.0,)
    speed = 1.0 if effort.full else 20.0
    with ThreadPoolExecutor(len(OUTAGES)) as pool:
        for seconds in lengths:
            yield from pool.map(lambda each, s=seconds: _lived_through(each, s, speed, folder), OUTAGES)
    yield _storage_misbehaves(effort, folder / "misbehaves")


def _lived_through(outage: Outage, seconds: float, speed: float, folder: Path) -> Score:
    jobs = 30 if speed > 1 else int(2 * seconds)
    with outage.house(folder / f"{outage.name}-{seconds:g}", speed) as house, house.service.client() as client:
        service = house.service
        assert service.settings
        before = service.process
        with customers(service, jobs=jobs, over=seconds * 1.5) as book:
            until_blocking(lambda: len(book.acknowledged) >= jobs // 10, within=60)
            house.go()
            gone = time.monotonic()
            wrong = _shows(client, outage)
            _wait(gone + seconds - time.monotonic())
            house.come()
            came = time.monotonic()
            wrong += _normal_again(client, outage)
            normal = time.monotonic() - came
        until_quiet(service, within=120)
        wrong += [*book.odd, *examine(service).wrong, *not_completed(service, book)]
        told = _told(service)
        if outage.needed and seconds * speed > 60 and [f"{outage.check}-away", f"{outage.check}-back"] != told:
            wrong.append(f"operators were told {told}")
        if service.process is not before or not service.alive:
            wrong.append("the service ended")
        if normal > NORMAL_WITHIN:
            wrong.append(f"it took {normal:.0f} s until all was well again")
        counts = {"jobs": jobs, "turned away": book.turned_away.total(), "normal again after s": round(normal, 1)}
        return Score("T18", f"{outage.name} away for {seconds:g} s", counts, wrong)


def _shows(client: httpx.Client, outage: Outage) -> list[str]:
    """It lives; it says what is missing, or does not miss it."""
    if client.get("/healthz").status_code != 200:
        return ["/healthz does not answer"]
    try:
        until_blocking(lambda: not client.get("/readyz").json()["checks"][outage.check]["ok"], within=25)
    except AssertionError:
        return [f"/readyz never said that {outage.name} is away"]
    if (client.get("/readyz").status_code == 200) is outage.needed:
        return [f"it is {'' if outage.needed else 'not '}ready without {outage.name}"]
    if f'darkroom_check_ok{{check="{outage.check}"}} 0.0' not in client.get("/metrics").text:
        return ["the metrics do not show it"]
    if outage.check == "storage":
        answer = client.post("/api/v1/uploads", files={"files": ("a.png", _PNG)})
        if (answer.status_code, "retry-after" in answer.headers) != (503, True):
            return [f"an upload meanwhile: {answer.status_code} {dict(answer.headers)} {answer.text}"]
    return []


def _normal_again(client: httpx.Client, outage: Outage) -> list[str]:
    """Ready, and a picture asked for now is made now, like all that waited."""
    try:
        until_blocking(lambda: client.get("/readyz").status_code == 200, within=60)
        job = client.post("/api/v1/jobs", json=request("a door")).json()["id"]
        until_blocking(lambda: client.get(f"/api/v1/jobs/{job}").json()["status"] == "completed", within=60)
        until_blocking(lambda: _nothing_put_off(client), within=60)
    except AssertionError as error:
        return [f"{outage.name} is back, and it is not well: {error}: {client.get('/readyz').text}"]
    return []


def _nothing_put_off(client: httpx.Client) -> bool:
    """No job waits to be sent again, or for its pictures to be stored."""
    stuck = client.get("/api/v1/jobs", params={"limit": 100, "status": "queued"}).json()["data"]
    return not any(job["attempt"] for job in stuck)


def _told(service: Service) -> list[str]:
    with operators(service) as client:
        return [code for notice in notices(client) if (code := notice["code"]).endswith(("-away", "-back"))]


def _wait(seconds: float) -> None:
    threading.Event().wait(max(seconds, 0.0))


# ----------------------------------------------------------------------------------------------------------------------
# Who goes away


@contextmanager
def _with_fal(folder: Path, speed: float) -> Iterator[House]:
    with running(folder, speed=speed) as service:
        assert service.settings
        assert service.sandbox
        service.key = newcomer(service.settings)
        yield House(service, service.sandbox.kill, service.sandbox.start)


@contextmanager
def _with_storage(folder: Path, speed: float) -> Iterator[House]:
    with _on_a_bucket(folder, speed) as (service, wire):
        yield House(service, wire.go_away, wire.come_back)


@contextmanager
def _on_a_bucket(folder: Path, speed: float) -> Iterator[tuple[Service, FaultProxy]]:
    with ExitStack() as stack:
        server = stack.enter_context(moto(strict=False))
        wire = stack.enter_context(fault_proxy(urlsplit(server.endpoint).port or 0))
        service = stack.enter_context(running(folder, speed=speed, **_bucket(server, wire)))
        assert service.settings
        service.key = newcomer(service.settings)
        yield service, wire


def _bucket(server: Moto, wire: FaultProxy) -> dict[str, Any]:
    return {
        "DARKROOM_STORAGE_URL": f"s3://{BUCKET}",
        "DARKROOM_S3_ENDPOINT": f"http://127.0.0.1:{wire.port}",
        "DARKROOM_S3_ACCESS_KEY_ID": server.access_key,
        "DARKROOM_S3_SECRET_ACCESS_KEY": server.secret_key,
    }


@contextmanager
def _with_redis(folder: Path, speed: float) -> Iterator[House]:
    redis = urlsplit(os.environ["DARKROOM_TEST_REDIS_URL"])
    with ExitStack() as stack:
        wire = stack.enter_context(fault_proxy(redis.port or 6379, redis.hostname or "127.0.0.1"))
        given: Mapping[str, Any] = {
            "DARKROOM_REDIS_URL": f"redis://127.0.0.1:{wire.port}{redis.path}",
            "DARKROOM_RUNNER": "none",
        }
        database = stack.enter_context(schema_of_its_own())
        service = stack.enter_context(running(folder, speed=min(speed, 15.0), database=database, **given))
        service.beside("app", "work")
        assert service.settings
        service.key = newcomer(service.settings)
        yield House(service, wire.go_away, wire.come_back)


OUTAGES = (
    Outage("fal", _with_fal, "provider"),
    Outage("the storage", _with_storage, "storage"),
    Outage("Redis", _with_redis, "bus", needed=False),
)


# ----------------------------------------------------------------------------------------------------------------------
# A bucket that answers, but wrongly


def _said(status: str, code: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it goes</Message></Error>"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"{head}\r\n{body}".encode()


def _storage_misbehaves(effort: Effort, folder: Path) -> Score:
    times = effort.of(6, 40)
    faults = {
        "answered 500": Fault(b"PUT /", "answer", times, reply=_said("500 Internal Server Error", "InternalError")),
        "answered 503 slow down": Fault(b"PUT /", "answer", times, reply=_said("503 Slow Down", "SlowDown")),
        "lost after the PUT": Fault(b"PUT /", "lose the answer", times),
        "cut": Fault(b"PUT /", "cut", times),
        "slow": Fault(b"PUT /", "delay", times, seconds=0.5),
        "404 after the PUT": Fault(b"GET /", "answer", times, reply=_said("404 Not Found", "NoSuchKey")),
    }
    with _on_a_bucket(folder, 20.0) as (service, wire):
        for fault in faults.values():
            wire.plan(fault)
        with customers(service, jobs=effort.of(24, 200), over=effort.of(3, 20)) as book:
            pass
        wrong = _looked_at_again(service, book, faults["404 after the PUT"])
        wire.forget()
        until_quiet(service, within=120)
        wrong += [*book.odd, *examine(service).wrong, *not_completed(service, book)]
        wrong += [f"never happened: {name}" for name, fault in faults.items() if not fault.fired]
    counts = {"jobs": len(book.acknowledged), **{name: fault.fired for name, fault in faults.items()}}
    return Score("T18", "a storage that misbehaves", counts, wrong)


def _looked_at_again(service: Service, book: Book, absent: Fault) -> list[str]:
    """A picture that the bucket does not show yet is a picture all the same, once it does."""
    with service.client() as client:
        job = next(iter(book.acknowledged.values()))
        until_blocking(lambda: client.get(f"/api/v1/jobs/{job}").json()["status"] == "completed", within=60)
        asset = client.get(f"/api/v1/jobs/{job}").json()["assets"][0]
        for _ in range(absent.times + 20):
            answer = client.get(f"/api/v1/assets/{asset['id']}/content", follow_redirects=True)
            if answer.status_code == 200:
                return [] if len(answer.content) == asset["size"] else ["another picture than was stored"]
            if answer.status_code >= 500 and answer.status_code != 503:
                return [f"a picture that is not there yet: {answer.status_code} {answer.text}"]
    return ["the picture never came"]
