"""Bad days: the database is locked, the disk is full, the bucket refuses, fal is out for an hour, the clock jumps. Each
shows itself, waits, and goes on by itself; afterwards nothing is lost and nothing is paid twice.

All of them happen at the same time, each to a service of its own, because some last 40 seconds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contracts.moto import BUCKET, moto
from tests.inside import violations
from tests.running import Service, empty_database, running
from tests.small_disk import small_disk
from tests.stories.desk import Desk, notices, operators, png, problem, sandbox, taken
from tests.waiting import until_blocking
from tests.wrong_clock import WrongClock

LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""

Story = Callable[[Path], None]


def the_database_is_locked_for_40_seconds_by_another_program(folder: Path) -> None:
    with running(folder, speed=50) as service, Desk.open(service) as desk:
        under_way = desk.until(desk.order("[[slow:150]]"), "submitted", "running")
        began = datetime.now(UTC)
        with _locked(service):
            refused = desk.post(key="patience")
            assert refused.headers["retry-after"]
            assert "locked" in problem(refused, 503, "unavailable")["detail"]
            assert desk.job(under_way["id"])["status"] != "completed"  # reading goes on
            assert desk.client.get("/healthz").status_code == 200
            _not_ready(desk.client, "database")
            until_blocking(lambda: datetime.now(UTC) - began > timedelta(seconds=40), within=60)
        _ready(desk.client)
        job = taken(desk.post(key="patience"), 202)
        assert [desk.ended(each)["status"] for each in (job, under_way)] == ["completed"] * 2
        _told(service, "database-was-away")
        _nothing_lost_nothing_twice(desk, 2)


def the_disk_is_full(folder: Path) -> None:
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk"))
        service = stack.enter_context(running(folder, speed=50, DARKROOM_DATA=str(disk.folder)))
        desk = stack.enter_context(Desk.open(service))
        _ready(desk.client)
        under_way = desk.until(desk.order("[[slow:100]]"), "submitted", "running")
        disk.fill()
        _not_ready(desk.client, "storage")
        _not_ready(desk.client, "room")
        refused = _until_refused(desk)
        _not_ready(desk.client, "database")
        assert "room" in problem(refused, 507, "storage-full")["detail"]
        answer = desk.client.post("/api/v1/uploads", files={"files": ("a.png", png((900, 900)))})
        problem(answer, 507, "storage-full")
        assert desk.job(under_way["id"])["status"] not in ("failed", "cancelled")
        disk.drain()
        _ready(desk.client)
        assert desk.ended(under_way)["status"] == "completed"
        jobs = [under_way, *(job for job in desk.get("jobs")["data"] if job["id"] != under_way["id"])]
        assert {desk.ended(job)["status"] for job in jobs} == {"completed"}
        taken(desk.client.post("/api/v1/uploads", files={"files": ("a.png", png((900, 900)))}), 201)
        until_blocking(lambda: "is full" in _said(service).get("database-was-away", ""), within=20)
        [waited] = [e for e in desk.events(types="notice") if e["data"]["code"] == "jobs-had-to-wait"]
        assert (waited["job"], "no picture and no credit was lost" in waited["data"]["detail"]) == (None, True)
        _nothing_lost_nothing_twice(desk, len(jobs))


def the_bucket_refuses(folder: Path) -> None:
    import boto3

    with moto(strict=False) as server:
        given: Any = {
            "DARKROOM_STORAGE_URL": f"s3://{BUCKET}",
            "DARKROOM_S3_ENDPOINT": server.endpoint,
            "DARKROOM_S3_ACCESS_KEY_ID": server.access_key,
            "DARKROOM_S3_SECRET_ACCESS_KEY": server.secret_key,
        }
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        s3 = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", **keys)
        with running(folder, speed=50, **given) as service, Desk.open(service) as desk:
            _ready(desk.client)
            kept = _taken_away(s3)
            job = desk.until(desk.order(), "storing")
            _not_ready(desk.client, "storage")
            until_blocking(lambda: [e["data"]["code"] for e in desk.events(types="notice")] == ["storage-away"])
            upload = desk.client.post("/api/v1/uploads", files={"files": ("a.png", png())})
            assert "bucket" in problem(upload, 503, "unavailable")["detail"]
            _told(service, "storage-away")
            assert desk.job(job["id"])["status"] == "storing"
            s3.create_bucket(Bucket=BUCKET)
            for key, body in kept.items():
                s3.put_object(Bucket=BUCKET, Key=key, Body=body)
            assert desk.ended(job)["status"] == "completed"
            _ready(desk.client)
            _told(service, "storage-away", "storage-back")
            picture = httpx.get(desk.job(job["id"])["assets"][0]["url"], trust_env=False)
            assert len(picture.content) == desk.job(job["id"])["assets"][0]["size"]
            _nothing_lost_nothing_twice(desk, 1)


def _taken_away(s3: Any) -> dict[str, bytes]:
    """What was in the bucket, which is gone now. The service's probes come and go meanwhile."""
    lasting = [key for key in _keys(s3) if not key.startswith("probe/")]
    kept = {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in lasting}

    def gone() -> bool:
        for key in _keys(s3):
            s3.delete_object(Bucket=BUCKET, Key=key)
        try:
            s3.delete_bucket(Bucket=BUCKET)
        except s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "BucketNotEmpty":
                raise
            return False
        return True

    until_blocking(gone, within=20)
    return kept


def _keys(s3: Any) -> list[str]:
    return [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def fal_answers_500_for_an_hour(folder: Path) -> None:
    speed = 200
    with running(folder, speed=speed) as service, Desk.open(service) as desk:
        _ready(desk.client)
        desk.ended(desk.order("before, so that fal's keys are known"))
        under_way = desk.until(desk.order("[[slow:400]]"), "submitted", "running")
        began = datetime.now(UTC)
        sandbox(service, "POST", "/_pause", mode="500")
        waiting = [desk.order(f"during {n}") for n in range(3)]
        desk.until(waiting[0], "submitting")
        _not_ready(desk.client, "provider")
        desk.until(under_way, "storing")  # the webhook came, its files cannot be fetched
        until_blocking(lambda: 'darkroom_away{what="provider"} 1.0' in desk.client.get("/metrics").text, within=20)
        told = {"answer-lost", "files-away"}
        until_blocking(lambda: {e["data"]["code"] for e in desk.events(types="notice")} == told)
        assert desk.job(under_way["id"])["note"].startswith("Waiting for fal's files, since ")
        until_blocking(lambda: datetime.now(UTC) - began > timedelta(hours=1) / speed, within=60)
        _told(service, "provider-away")
        assert {desk.job(job["id"])["status"] for job in waiting} == {"submitting"}
        sandbox(service, "POST", "/_resume")
        for job in (under_way, *waiting):
            assert desk.ended(job, within=40)["status"] == "completed"
        _ready(desk.client)
        _told(service, "provider-away", "provider-back")
        _nothing_lost_nothing_twice(desk, 5)


def the_clock_jumps(folder: Path) -> None:
    clock = WrongClock.at(folder / "clock")
    given: Any = clock.environment
    with running(folder, speed=50, **given) as service, Desk.open(service) as desk:
        patient = {"deadline_seconds": 86_400}  # our own limit of six hours is short at this pace
        jobs = [desk.order("on time", **patient)]
        for shift in ("+4m", "+1h", "-4m", "-1h", "+0"):
            jobs.append(desk.order(f"under way at {shift} [[slow:100]]", **patient))
            before, stale = _server_time(desk), _stale(desk)
            clock.set(shift)
            until_blocking(lambda t=before: abs(_server_time(desk) - t) > timedelta(minutes=3), within=10)  # type: ignore[misc]
            jobs.append(desk.order(f"after {shift}", **patient))
            if shift.endswith("h"):  # fal's letters look old then or of tomorrow, which shows
                until_blocking(lambda n=stale: _stale(desk) > n, within=30)  # type: ignore[misc]
        assert {desk.ended(job, within=30)["status"] for job in jobs} == {"completed"}
        overdue = desk.ended(desk.order("[[never]]", deadline_seconds=1))  # what is done again and again still is
        assert overdue["error"]["code"] == "deadline-passed"
        _nothing_lost_nothing_twice(desk, len(jobs))


STORIES: tuple[Story, ...] = (
    the_database_is_locked_for_40_seconds_by_another_program,
    the_disk_is_full,
    the_bucket_refuses,
    fal_answers_500_for_an_hour,
    the_clock_jumps,
)


@pytest.fixture(scope="module")
def days(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Story, Future[None]]]:
    """Those that are to be told in this session, all begun."""
    items: Any = request.session.items
    chosen = [item.callspec.params["story"] for item in items if item.path == request.path]
    empty_database()  # made once, before they all want it
    with ThreadPoolExecutor(len(STORIES)) as pool:
        yield {story: pool.submit(story, tmp_path_factory.mktemp(story.__name__[:20])) for story in chosen}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_bad_day_is_waited_out(days: dict[Story, Future[None]], story: Story) -> None:
    days[story].result(120)


def _nothing_lost_nothing_twice(desk: Desk, jobs: int) -> None:
    assert desk.balance() == (1000 - jobs, 0, jobs)
    assert len([post for post in desk.posts() if "[[never]]" not in post["input"]["prompt"]]) == jobs
    assert desk.service.settings
    assert violations(desk.service.settings) == []


def _ready(client: httpx.Client) -> None:
    until_blocking(lambda: client.get("/readyz").status_code == 200, within=30)


def _not_ready(client: httpx.Client, check: str) -> None:
    """It says which part is away and what to do, in /readyz and in the metrics."""
    seen: dict[str, Any] = {}

    def failing() -> bool:
        seen.update(client.get("/readyz").json()["checks"])
        return not seen[check]["ok"]

    until_blocking(failing, within=30)
    assert len(seen[check]["detail"]) > 15, seen
    assert f'darkroom_check_ok{{check="{check}"}} 0.0' in client.get("/metrics").text


def _told(service: Service, *codes: str) -> None:
    """Operators were told of this coming and going, once each and in this order."""
    with operators(service) as client:

        def so_far() -> list[str]:
            said = [notice["code"] for notice in notices(client)]
            return [code for code in said if code.endswith(("-away", "-back"))]

        until_blocking(lambda: so_far() == list(codes), within=20)


def _said(service: Service) -> dict[str, str]:
    """What operators were told so far."""
    with operators(service) as client:
        return {notice["code"]: notice["detail"] for notice in notices(client)}


def _stale(desk: Desk) -> float:
    found = re.search(r'webhooks_total{verdict="stale"} (\S+)', desk.client.get("/metrics").text)
    return float(found[1]) if found else 0.0


def _until_refused(desk: Desk) -> httpx.Response:
    """The database has a little room of its own left."""
    for n in range(2000):
        answer = desk.post(f"full {n}", not_before=(datetime.now(UTC) + timedelta(seconds=1)).isoformat())
        if answer.status_code != 202:
            return answer
    raise AssertionError("the disk is not full")


def _server_time(desk: Desk) -> datetime:
    answer = desk.client.get("/healthz")
    return datetime.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)


@contextmanager
def _locked(service: Service) -> Iterator[None]:
    assert service.settings
    database = service.settings.home / "darkroom.db"
    command = [sys.executable, "-c", LOCK, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline()
        yield
        other.stdin.close()
        assert other.wait(10) == 0
