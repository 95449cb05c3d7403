"""What `deploy/compose.yaml` starts, started here: two web processes behind nginx with `deploy/front.conf`, a worker,
moto and the sandbox, on the tests' PostgreSQL and Redis. About 40 s.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.rules import Rules
from app.settings import Settings, variable
from tests.deploy.fleet import NGINX, Fleet
from tests.deploy.plans import DEPLOY, compose
from tests.running import SECRET, schema_of_its_own
from tests.subscriber import Subscription, subscribed
from tests.waiting import until, until_blocking

CALLER = {"DARKROOM_SECRET": SECRET, "POSTGRES_PASSWORD": "of-the-tests"}
WEBS = ("web-1", "web-2")
CONF = (DEPLOY / "front.conf").read_text()
SILENCE = int(re.findall(r"client_body_timeout (\d+)s", CONF)[0])
PACE = 10.0
"""Seconds after which the service gives up on a body that trickles."""


@dataclass(frozen=True)
class House:
    fleet: Fleet
    key: str
    tricklers: dict[str, Future[tuple[bytes, float]]]

    @property
    def front(self) -> int:
        return self.fleet.port("front")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self, port: int | None = None) -> httpx.Client:
        base = f"http://localhost:{port or self.front}"
        return httpx.Client(base_url=base, headers=self.headers, timeout=70, trust_env=False)

    @asynccontextmanager
    async def reading(self, path: str, port: int | None = None, last_id: str = "") -> AsyncIterator[Subscription]:
        headers = {**self.headers, "Accept": "text/event-stream", "Accept-Encoding": "gzip, br"}  # as browsers do
        async with subscribed(port or self.front, path, headers=headers, last_id=last_id) as reader:
            yield reader


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if not Path(NGINX).exists():
        pytest.skip(f"{NGINX} is not there: apt install nginx-light")
    redis = os.environ.get("DARKROOM_TEST_REDIS_URL")
    if not redis:
        pytest.skip("DARKROOM_TEST_REDIS_URL names no Redis")
    with schema_of_its_own() as database, composed(tmp_path_factory.mktemp("compose"), database, redis) as fleet:
        for name in (*WEBS, "worker", "fal"):
            fleet.begin(name)
        fleet.start("front")
        workspace = fleet.run("web-1", "admin", "workspace", "create", "Behind the front")
        key = fleet.run("web-1", "admin", "key", "create", workspace)
        fleet.run("web-1", "admin", "grant", workspace, "1000")
        with ThreadPoolExecutor() as threads:  # they take their time, and the other tests need not wait for them
            yield House(fleet, key, {how: threads.submit(trickle, fleet.port("front"), key, how) for how in TRICKLES})


@contextmanager
def composed(folder: Path, database: str, redis: str) -> Iterator[Fleet]:
    parts, file = compose(CALLER)
    published = {
        f"localhost:{outer.rpartition(':')[2]}": (name, int(inner))
        for name, service in file["services"].items()
        for outer, _, inner in (line.rpartition(":") for line in service.get("ports", ()))
    }
    started = {name: part for name, part in parts.items() if name not in {"database", "nudges"}}
    given = {"DARKROOM_DATABASE_URL": database, "DARKROOM_REDIS_URL": redis}
    with Fleet(folder, started, given, published) as fleet:
        yield fleet


# ----------------------------------------------------------------------------------------------------------------------
# The file itself


def test_the_file_asks_for_its_secrets_and_has_none() -> None:
    for name in CALLER:
        with pytest.raises(AssertionError, match=f"{name} is needed"):
            compose({other: value for other, value in CALLER.items() if other != name})


def test_every_variable_is_a_setting_and_all_processes_have_the_same() -> None:
    parts, _ = compose(CALLER)
    ours = {name: dict(parts[name].environment) for name in (*WEBS, "worker", "migrate")}
    known = {variable(name) for name in Settings.model_fields} | {"PATH", "PYTHONUNBUFFERED"}
    assert all(environment == ours["migrate"] for environment in ours.values())
    assert ours["migrate"].keys() <= known


def test_the_addresses_are_those_of_the_services() -> None:
    parts, file = compose(CALLER)
    database, settings = file["services"]["database"]["environment"], parts["web-1"].environment
    url = urlsplit(settings["DARKROOM_DATABASE_URL"])
    found = (url.hostname, url.username, url.password, url.path)
    assert found == (
        "database",
        database["POSTGRES_USER"],
        database["POSTGRES_PASSWORD"],
        f"/{database['POSTGRES_DB']}",
    )
    assert urlsplit(settings["DARKROOM_REDIS_URL"]).hostname == "nudges"
    assert file["services"]["nudges"]["command"][0] == "valkey-server"


def test_real_pictures_are_a_matter_of_the_caller_s_environment() -> None:
    parts, _ = compose({**CALLER, "FAL_KEY": "k", "DARKROOM_FAL_URL": "", "DARKROOM_PUBLIC_URL": "https://d.example"})
    environment = parts["web-1"].environment
    chosen = [environment[name] for name in ("FAL_KEY", "DARKROOM_FAL_URL", "DARKROOM_PUBLIC_URL")]
    assert chosen == ["k", "", "https://d.example"]


def test_the_front_knows_every_web_process_and_takes_what_the_service_takes() -> None:
    parts, _ = compose(CALLER)
    webs = {f"{name}:{part.listens}" for name, part in parts.items() if "serve" in part.command}
    assert set(re.findall(r"server (\S+) max_fails", CONF)) == webs
    usual, uploads = (int(size) * 1_048_576 for size in re.findall(r"client_max_body_size (\d+)m", CONF))
    rules = Rules()
    assert usual > rules.body_max_bytes
    assert uploads > rules.upload_max_bytes * rules.uploads_per_request


# ----------------------------------------------------------------------------------------------------------------------
# What it starts


def test_one_picture_comes_through_everything(house: House) -> None:
    with house.client() as client:
        job = client.post("/api/v1/jobs", json=order("a lighthouse"), headers={"Prefer": "wait=60"}).json()
        [asset] = job["assets"]
        picture = httpx.get(asset["url"], trust_env=False)
        deliveries = client.get("/api/v1/deliveries", params={"job": job["id"]}).json()
    assert job["status"] == "completed", job
    assert picture.headers["content-type"].startswith("image/")
    assert len(picture.content) == asset["size"]
    assert [each["source"] for each in deliveries["data"]] == ["webhook"], "fal's call came through the front"


def test_every_part_is_well_by_the_image_s_own_check(house: House) -> None:
    assert all(house.fleet.is_well(name) for name in (*WEBS, "worker"))
    with house.client() as client:
        ready = client.get("/readyz")
    assert ready.status_code == 200, ready.text


async def test_each_frame_arrives_as_it_is_sent(house: House) -> None:
    """A front that compresses or buffers would hold them back until there is a page of them, or the stream ends."""
    async with house.reading("/api/v1/stream-test") as reader:
        assert "content-encoding" not in reader.headers
        late = []
        for number in (1, 2, 3):
            await reader.until_events(number)
            told = datetime.fromisoformat(reader.source.events[-1].json["time"])
            late.append((datetime.now(UTC) - told).total_seconds())
    assert len(reader.source.events) == 3
    assert max(late) < 1, late


HEAD = "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
TRICKLES = {
    "headers": (HEAD + "X-Slow: ", 0.5),
    "silent body": (HEAD + "Content-Length: 9000\r\n\r\n{{", 0.0),
    "trickled body": (HEAD + "Content-Length: 9000\r\n\r\n{{", 0.5),
}
"""How it begins, and after how many seconds each further byte comes."""


@pytest.mark.parametrize("how", TRICKLES)
def test_whoever_trickles_a_request_in_is_cut(house: House, how: str) -> None:
    said, took = house.tricklers[how].result(timeout=60)
    assert said.startswith(b"HTTP/1.1 408 ") or not said, said
    assert took < max(SILENCE, PACE) + 5


async def test_a_web_process_dies_and_its_reader_goes_on_at_the_other(house: House) -> None:
    async with house.reading("/api/v1/events?after=0") as reader:
        await reader.until_events(1)
        async with customers(house) as answered:
            await until(lambda: len(answered) >= 10, within=20)
            victim = next(name for name in WEBS if await_streams(house, name) == 1)
            house.fleet.running[victim].kill()
            await reader.until_over()
            already = len(answered)
            await until(lambda: len(answered) >= already + 10, within=20)
        assert not house.fleet.is_well(victim)
    before = reader.source.events
    assert before
    async with house.reading("/api/v1/events", last_id=reader.source.last_id) as again:
        newest = await asyncio.to_thread(newest_event, house, len(set(answered.values())))
        while int(again.source.last_id or 0) < newest:
            await again.more()
    numbers = [int(heard.id) for heard in (*before, *again.source.events) if heard.id]
    assert numbers == list(range(1, newest + 1)), "an event is missing or came twice"
    house.fleet.start(victim)
    assert house.fleet.is_well(victim)


def test_the_front_s_log_has_no_secret_of_an_address(house: House) -> None:
    said = house.fleet.running["front"].text()
    assert "/api/webhooks/fal/..." in said
    assert not re.search(r"att_\w+|after=", said)


def test_what_only_machines_inside_should_ask_is_not_outside(house: House) -> None:
    with house.client() as outside, house.client(house.fleet.port("web-1")) as inside:
        assert outside.get("/metrics").status_code == 404
        assert "darkroom_open_streams" in inside.get("/metrics").text


def test_when_nobody_is_there_it_says_so_and_all_ends_well(house: House) -> None:
    """The last one: it stops the web processes, then everything."""
    names = (*WEBS, "worker")
    assert {name: house.fleet.running[name].stop() for name in WEBS} == dict.fromkeys(WEBS, 0)
    with house.client() as client:
        away = client.post("/api/v1/jobs", json=order("a gate"))
    assert (away.status_code, away.headers["retry-after"]) == (503, "5")
    assert away.headers["content-type"] == "application/problem+json"
    assert (away.json()["code"], away.json()["retryable"]) == ("unavailable", True)
    assert house.fleet.running["worker"].stop() == 0
    assert "Traceback" not in "".join(house.fleet.running[name].text() for name in names)
    house.fleet.run("worker", "verify")


# ----------------------------------------------------------------------------------------------------------------------


def order(prompt: str) -> dict[str, Any]:
    size = {"width": 64, "height": 64}
    return {"model": "fal-ai/flux/schnell", "input": {"prompt": prompt, "image_size": size}}


@asynccontextmanager
async def customers(house: House) -> AsyncIterator[dict[str, str]]:
    """Two who ask for pictures again and again, and are answered, but for what one who dies has in hand. To each key
    the job."""
    answered: dict[str, str] = {}
    refused: list[str] = []
    going = True

    async def ask(who: int) -> None:
        number = 0
        while going:
            key = f"{who}-{number}"
            answer = await client.post("/api/v1/jobs", json=order(f"a gate {key}"), headers={"Idempotency-Key": key})
            if answer.status_code == 202:
                answered[key] = answer.json()["id"]
                number += 1
            else:  # it was with the one that died: nobody can know what became of it, so the same is asked again
                assert answer.status_code == 503, answer.text
                refused.append(key)

    base = f"http://localhost:{house.front}"
    async with (
        httpx.AsyncClient(base_url=base, headers=house.headers, timeout=30, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for who in (1, 2):
            group.create_task(ask(who))
        yield answered
        going = False
    assert len(set(answered.values())) == len(answered)
    assert len(refused) <= 4, "whoever asks after the death is answered by the other"


def await_streams(house: House, name: str) -> int:
    with house.client(house.fleet.port(name)) as client:
        [line] = [line for line in client.get("/metrics").text.splitlines() if line.startswith("darkroom_open_streams")]
    return int(float(line.split()[1]))


def newest_event(house: House, jobs: int) -> int:
    """Once every job has ended."""
    with house.client() as client:
        until_blocking(lambda: ended(client) >= jobs, within=60)
        after = 0
        while page := client.get("/api/v1/events", params={"after": after, "limit": 200}).json()["data"]:
            after = page[-1]["seq"]
    return after


def ended(client: httpx.Client) -> int:
    jobs = client.get("/api/v1/jobs", params={"limit": 100}).json()["data"]
    return sum(job["finished_at"] is not None for job in jobs) if all(job["finished_at"] for job in jobs) else 0


def trickle(port: int, key: str, how: str) -> tuple[bytes, float]:
    """Speak a byte at a time, until the other side has had enough; what it said, and when."""
    begin, every = TRICKLES[how]
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(every or 40.0)
        connection.sendall(begin.format(key=key).encode())
        while True:
            try:
                return connection.recv(4096), time.monotonic() - began
            except TimeoutError:
                assert time.monotonic() - began < 40, "nobody minds"
                connection.sendall(b"x")
            except ConnectionError:
                return b"", time.monotonic() - began
