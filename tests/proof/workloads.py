"""What a patient client does, each a little story: it asks again under the same Idempotency-Key until it is answered,
whatever dies meanwhile. The words in double brackets are the sandbox's, for an outcome or a fault.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
from PIL import Image

from tests.running import Service
from tests.waiting import until_blocking

WITHIN = 60.0
_OVER = ("completed", "failed", "cancelled")

Workload = Callable[["Client"], None]


class Client:
    """`revive` brings a dead service back; it is called before every try."""

    def __init__(self, service: Service, revive: Callable[[], None]) -> None:
        self._http = service.client()
        self._revive = revive
        self._tag = uuid.uuid4().hex[:8]

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, *allowed: int, **options: Any) -> Any:
        """The JSON of an answer. A POST has a key, so that asking twice is asking once."""
        if method == "POST":
            options["headers"] = {"Idempotency-Key": uuid.uuid4().hex, **options.get("headers", {})}
        answer = until_blocking(lambda: self._try(method, path, options), WITHIN)
        assert answer is not None
        assert answer.status_code in (allowed or (200, 201, 202, 204)), f"{method} {path}: {answer.text}"
        return answer.json() if answer.content and "json" in answer.headers["content-type"] else None

    def job(self, prompt: str, **more: Any) -> str:
        id_: str = self.ask("POST", "/jobs", json=self.request(prompt, **more))["id"]
        return id_

    def request(self, prompt: str, **more: Any) -> dict[str, Any]:
        size = {} if "model" in more else {"image_size": {"width": 64, "height": 64}}
        return {"model": "fal-ai/flux/schnell", "input": {"prompt": f"{prompt} {self._tag}", **size}, **more}

    def run(self, prompts: Sequence[str], **more: Any) -> str:
        jobs = [self.request(f"{prompt} {number}") for number, prompt in enumerate(prompts)]
        id_: str = self.ask("POST", "/runs", json={"jobs": jobs, **more})["id"]
        return id_

    def until(self, what: str, id_: str, *statuses: str) -> None:
        """Look until it is in one of these states, or at its end."""
        wanted = {*statuses, *_OVER}
        until_blocking(lambda: self.ask("GET", f"/{what}/{id_}")["status"] in wanted, WITHIN)

    def cancel(self, what: str, id_: str) -> None:
        """It may have ended by itself; that is an answer too."""
        self.ask("POST", f"/{what}/{id_}/cancel", 200, 409)

    def _try(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response | None:
        self._revive()
        try:
            answer = self._http.request(method, f"/api/v1{path}", **options)
        except httpx.TransportError:
            return None
        return answer if answer.status_code != 503 else None


def single(client: Client) -> None:
    client.until("jobs", client.job("a lighthouse"))


def unheard(client: Client) -> None:
    """Taken by fal without an answer, and nobody is told when it is done: only fal's list knows of it."""
    client.until("jobs", client.job("a buoy [[chaos:answer_cut]] [[chaos:lost]]"))


def ten(client: Client) -> None:
    """A run of ten, each with a trouble of its own."""
    faults = ("lost", "early", "null_payload", "stale", "truncated", "storm_429", "tampered")
    never_heard_of = "[[chaos:answer_cut]] [[chaos:lost]]"
    troubles = ("[[fail:1]]", "[[refuse]]", never_heard_of, *(f"[[chaos:{name}]]" for name in faults))
    client.until("runs", client.run([f"a boat {words}" for words in troubles]))


def cancel(client: Client) -> None:
    """In each state a job can be in, a run with two of them, and once more when all is over."""
    queued = client.job("later", not_before=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    client.cancel("jobs", queued)
    submitted = client.job("[[never]]")
    client.until("jobs", submitted, "submitted", "running")
    client.cancel("jobs", submitted)
    running = client.job("[[slow:600]]")
    client.until("jobs", running, "running")
    client.cancel("jobs", running)
    unanswered = client.job("[[never]] [[chaos:answer_cut]]")
    client.cancel("jobs", unanswered)
    storing = client.job("[[chaos:slow_cdn]]")
    client.until("jobs", storing, "storing")
    client.cancel("jobs", storing)
    run = client.run(["[[never]]", "[[never]]", "a quick one"])
    client.cancel("runs", run)
    over = client.job("over soon")
    client.until("jobs", over)
    client.cancel("jobs", over)


def moves(client: Client) -> None:
    """All or nothing, both ways; pausing and resuming; making failed ones again."""
    whole = client.run(["a cup", "a plate"], policy="all_or_nothing")
    broken = client.run(["a cup", "[[refuse]]", "[[slow:60]]"], policy="all_or_nothing")
    paused = client.run(["a tree", "a bush", "[[fail]]"])
    client.ask("POST", f"/runs/{paused}/pause", 200, 409)
    client.ask("POST", f"/runs/{paused}/resume", 200, 409)
    for run in (whole, broken, paused):
        client.until("runs", run)
    client.ask("POST", f"/runs/{paused}/retry-failed", 202, 409)
    client.until("runs", paused)


def upload(client: Client) -> None:
    """A picture sent in, drawn from, looked at and deleted; and one that nobody can use."""
    sent = client.ask("POST", "/uploads", files={"files": ("cup.png", _picture(), "image/png")})
    asset = sent["data"][0]["id"]
    client.ask("GET", f"/assets/{asset}/content", 200)
    drawn = client.job("a cup, but blue", model="fal-ai/nano-banana/edit", reference_images=[asset])
    client.until("jobs", drawn)
    client.ask("DELETE", f"/assets/{asset}", 204, 404)


def people(client: Client) -> None:
    """Keys made and taken back, streams and pages read."""
    made = client.ask("POST", "/keys", json={"name": "a second one", "scopes": ["jobs:read"]})
    client.ask("GET", "/keys")
    client.ask("DELETE", f"/keys/{made['id']}", 204, 404)
    client.ask("POST", "/jobs", 200, 202, json=client.request("at once"), headers={"Prefer": "wait=30"})
    client.ask("GET", "/events")
    client.ask("GET", "/deliveries")


WORKLOADS: dict[str, Workload] = {each.__name__: each for each in (single, people, upload, unheard, moves, cancel, ten)}
"""The shortest first."""


@cache
def _picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "#c08040").save(out, "PNG")
    return out.getvalue()
