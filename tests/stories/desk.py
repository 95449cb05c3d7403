"""One customer at the service's counter: a workspace with a key, and what people do with it, over HTTP alone."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx
from PIL import Image

from tests.inside import newcomer, operator
from tests.running import Service
from tests.subscriber import EventSource, Heard
from tests.waiting import until_blocking

SCHNELL = "fal-ai/flux/schnell"
SMALL = {"width": 64, "height": 64}
LATER = (datetime.now(UTC) + timedelta(days=20)).isoformat()
"""A time at which no test runs any more."""
FINAL = ("completed", "failed", "cancelled")


@dataclass
class Desk:
    """`tag` is in the prompt of everything ordered here, so that the sandbox's log can be asked about it."""

    service: Service
    client: httpx.Client
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @classmethod
    @contextmanager
    def open(cls, service: Service, credits: int = 1_000) -> Iterator[Self]:
        assert service.settings
        service.key = newcomer(service.settings, credits)
        with service.client() as client:
            yield cls(service, client)

    # Asking

    def request(self, words: str = "a lighthouse", **more: Any) -> dict[str, Any]:
        """What to post for a small picture. `input` in `more` is added to the input, the rest stands beside it."""
        given = {"prompt": f"{words} {self.tag}", "image_size": SMALL, **more.pop("input", {})}
        return {"model": SCHNELL, "input": given, **more}

    def post(self, words: str = "a lighthouse", *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return self.client.post("/api/v1/jobs", json=self.request(words, **more), headers=headers)

    def order(self, words: str = "a lighthouse", **more: Any) -> dict[str, Any]:
        return taken(self.post(words, **more))

    def run(self, *words: str, **more: Any) -> dict[str, Any]:
        jobs = [self.request(each) for each in words]
        return taken(self.client.post("/api/v1/runs", json={"jobs": jobs, **more}))

    def do(self, what: str, id_: str, status: int = 200) -> dict[str, Any]:
        """Press a button: `cancel`, `retry`, `pause`, ..."""
        kind = "runs" if id_.startswith("run_") else "jobs"
        return taken(self.client.post(f"/api/v1/{kind}/{id_}/{what}"), status)

    # Looking

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return taken(self.client.get(f"/api/v1/{path}", params=query), 200)

    def job(self, id_: str) -> dict[str, Any]:
        return self.get(f"jobs/{id_}")

    def until(self, job: dict[str, Any], *statuses: str, within: float = 20) -> dict[str, Any]:
        """The job once it is in one of these states."""
        path = f"{'runs' if job['id'].startswith('run_') else 'jobs'}/{job['id']}"
        seen: dict[str, Any] = {}

        def there() -> bool:
            seen.update(self.get(path))
            assert seen["status"] in statuses or seen["status"] not in FINAL, f"{statuses} wanted: {seen}"
            return seen["status"] in statuses

        until_blocking(there, within)
        return seen

    def ended(self, job: dict[str, Any], within: float = 20) -> dict[str, Any]:
        return self.until(job, *FINAL, within=within)

    def events(self, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next_after": 0, "has_more": True}
        while page["has_more"]:
            page = self.get("events", after=page["next_after"], **query)
            found += page["data"]
        return found

    def told(self, job: dict[str, Any]) -> list[str]:
        """The kinds of events of one job, progress left out."""
        return [e["type"] for e in self.events(job=job["id"]) if e["type"].startswith("job.")]

    def balance(self) -> tuple[int, int, int]:
        """Available, held, spent."""
        now = self.get("credits")
        return now["available"], now["held"], now["spent"]

    def attempts(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"jobs/{job['id']}/attempts")["data"]
        return found

    # What the sandbox says

    def bought(self, job: dict[str, Any]) -> int:
        """How many requests fal took for this job, and that each of them is an attempt's, or nearly."""
        ours = {attempt["id"] for attempt in self.attempts(job)}
        return sum(any(f"/{attempt}/" in (post["webhook"] or "") for attempt in ours) for post in self.posts())

    def posts(self) -> list[dict[str, Any]]:
        """The paid requests of this desk in the sandbox's own log."""
        return [post for post in log_of(self.service) if self.tag in str(post["input"].get("prompt"))]


def log_of(service: Service) -> list[dict[str, Any]]:
    posts: list[dict[str, Any]] = sandbox(service, "GET", "/_log/posts")["posts"]
    return posts


def sandbox(service: Service, method: str, path: str, **body: Any) -> dict[str, Any]:
    assert service.sandbox
    answer = httpx.request(method, service.sandbox.url + path, json=body or None, timeout=10, trust_env=False)
    return taken(answer, 200)


@contextmanager
def operators(service: Service) -> Iterator[httpx.Client]:
    """The operator's client."""
    assert service.settings
    headers = {"Authorization": f"Bearer {operator(service.settings)}"}
    with httpx.Client(base_url=service.base_url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def notices(client: httpx.Client) -> list[dict[str, Any]]:
    """What operators were told."""
    page = taken(client.get("/api/v1/events", params={"types": "notice", "limit": 200}), 200)
    return [event["data"] for event in page["data"]]


def taken(answer: httpx.Response, status: int | None = None) -> dict[str, Any]:
    """The answer's body, if it is a good one."""
    wanted = answer.is_success if status is None else answer.status_code == status
    assert wanted, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    body: dict[str, Any] = answer.json()
    return body


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, in full, and says something a person can use."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert {"type", "title", "status", "detail", "request_id", "retryable"} <= body.keys()
    assert len(body["detail"]) > 10
    return body


def follow(
    client: httpx.Client, path: str, *, until: str | None = None, most: int = 10_000, **options: Any
) -> list[Heard]:
    """Read a stream: to its end, up to an event of the type `until`, or `most` events."""
    source = EventSource()
    with client.stream(
        "GET", path, headers={"Accept": "text/event-stream"} | options.pop("headers", {}), **options
    ) as s:
        assert s.status_code == 200, s.read()
        for data in s.iter_raw():
            source.feed(data)
            if len(source.events) >= most or any(heard.type == until for heard in source.events):
                break
    return source.events


def png(size: tuple[int, int] = (64, 64), colour: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def pointers(body: dict[str, Any]) -> list[str]:
    return [json.dumps(error["pointer"]).strip('"') for error in body.get("errors", [])]
