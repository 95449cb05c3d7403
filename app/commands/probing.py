"""What `doctor --live` does: one picture with the cheapest model, step by step past our own adapter, and what fal
answers at each step that its documentation leaves open, written down.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from app.commands.catcher import Catcher
from app.logs import redacted
from app.settings import SANDBOX_KEY, Settings, SettingsError

ENDPOINT = "fal-ai/flux/schnell"
ARGUMENTS = {"prompt": "a small grey pebble on white paper", "num_images": 1, "image_size": "square"}
COST = "less than 0.02 dollars"
LISTENS_ON = 8099
LIST_PATIENCE, RUN_PATIENCE, CALL_PATIENCE = 60.0, 120.0, 240.0
HEADERS_WORTH_NOTING = (
    "content-type", "retry-after", "x-fal-request-id", "x-fal-billable-units", "x-fal-error-type", "cache-control",
    "location",
)  # fmt: skip


@dataclass
class Notes:
    """Each point, and what fal said to it."""

    points: dict[str, Any] = field(default_factory=dict)

    def add(self, point: str, facts: Mapping[str, Any]) -> None:
        self.points[point] = dict(facts)
        print(f"  {point:<28} {redacted(json.dumps(facts, default=str))[:180]}")


def agreed(settings: Settings) -> bool:
    """Ask the person, where it costs something."""
    if settings.world == "sandbox":
        return True
    print(f"\nThis makes one picture with {ENDPOINT} at fal.ai and begins another; it costs {COST}.")
    return input("Type yes to go on: ").strip().lower() == "yes"


async def probe(settings: Settings, webhook: str | None) -> int:
    """0 when a picture came; the notes are in a file of the data folder."""
    notes = Notes()
    print("\nWhat fal answers:\n")
    async with Catcher(LISTENS_ON if webhook else 0) as catcher:
        hook = webhook or (catcher.url if settings.world == "sandbox" else None)
        async with _http(settings) as http:
            seen = await _Probe(settings, http, notes, catcher, hook).run()
    stamp = datetime.now(UTC)
    file = settings.home / f"doctor-live-{stamp:%Y%m%d-%H%M%S}.json"
    report = {"at": stamp.isoformat(), "world": settings.world, "endpoint": ENDPOINT, "points": notes.points}
    file.write_text(redacted(json.dumps(report, indent=1, default=str)))
    print(f"\n{'A picture came.' if seen else 'No picture came.'} All of it is in {file}.")
    return 0 if seen else 1


def _http(settings: Settings) -> httpx.AsyncClient:
    key = settings.fal_key.get_secret_value() if settings.fal_key else SANDBOX_KEY
    return httpx.AsyncClient(headers={"Authorization": f"Key {key}"}, timeout=60.0)


@dataclass
class _Probe:
    settings: Settings
    http: httpx.AsyncClient
    notes: Notes
    catcher: Catcher
    hook: str | None

    async def run(self) -> bool:
        await self._strangers()
        began = time.monotonic()
        answer = await self._ask("POST", self._at("queue.fal.run", f"/{ENDPOINT}"), hook=True, json=ARGUMENTS)
        self.notes.add("submit", _facts(answer))
        if answer.status_code != 200:
            raise SettingsError(f"fal did not take the job ({answer.status_code}): {redacted(answer.text[:300])}")
        ticket = answer.json()
        self.notes.add("result before the end", _facts(await self._ask("GET", ticket["response_url"])))
        await self._wait(ticket)
        self.notes.add("seconds to the end", {"seconds": round(time.monotonic() - began, 1)})
        result = await self._ask("GET", ticket["response_url"])
        self.notes.add("result", _facts(result))
        self.notes.add("cancel after the end", _facts(await self._ask("PUT", ticket["cancel_url"])))
        await self._list(ticket["request_id"], began)
        await self._cancelled()
        await self._calls(ticket["request_id"])
        return await self._picture(result)

    async def _strangers(self) -> None:
        unknown = self._at("queue.fal.run", f"/fal-ai/flux/requests/{uuid.UUID(int=0)}")
        self.notes.add("status of an unknown request", _facts(await self._ask("GET", f"{unknown}/status")))
        self.notes.add("result of an unknown request", _facts(await self._ask("GET", unknown)))
        wrong = await self.http.get(f"{unknown}/status", headers={"Authorization": "Key bad"})
        self.notes.add("a wrong key", _facts(wrong))
        keys = await self._ask("GET", self._at("rest.fal.ai", "/.well-known/jwks.json"))
        listed = keys.json().get("keys", []) if keys.status_code == 200 else []
        shapes = [{"length": len(k.get("x", "")), "padded": "=" in k.get("x", ""), "has": sorted(k)} for k in listed]
        self.notes.add("signing keys", {"status": keys.status_code, "keys": shapes})
        self.notes.add("addresses of webhooks", _facts(await self._ask("GET", self._at("api.fal.ai", "/v1/meta"))))

    async def _wait(self, ticket: Mapping[str, str]) -> None:
        states: list[Any] = []
        deadline = time.monotonic() + RUN_PATIENCE
        while time.monotonic() < deadline:
            answer = await self._ask("GET", f"{ticket['status_url']}?logs=1")
            state = [answer.status_code, _json(answer).get("status")]
            if state not in states:
                states.append(state)
            if state[1] == "COMPLETED":
                break
            await asyncio.sleep(0.5)
        self.notes.add("states on the way", {"states": states})

    async def _list(self, request: str, began: float) -> None:
        since = datetime.now(UTC) - timedelta(minutes=10)
        url = self._at("api.fal.ai", "/v1/models/requests/by-endpoint")
        query = {"endpoint_id": ENDPOINT, "start": since.isoformat(), "expand": "payloads", "limit": "50"}
        deadline = time.monotonic() + LIST_PATIENCE
        while time.monotonic() < deadline:
            answer = await self.http.get(url, params=query)
            mine = [each for each in _json(answer).get("items") or () if each.get("request_id") == request]
            if answer.status_code != 200 or mine:
                seconds = round(time.monotonic() - began, 1)
                same = bool(mine) and mine[0].get("json_input") == ARGUMENTS
                facts = {"status": answer.status_code, "found": bool(mine), "after": seconds, "same arguments": same}
                self.notes.add("request list", facts | {"fields": sorted(mine[0]) if mine else []})
                return
            await asyncio.sleep(1)
        self.notes.add("request list", {"found": False, "after": LIST_PATIENCE})

    async def _cancelled(self) -> None:
        answer = await self._ask("POST", self._at("queue.fal.run", f"/{ENDPOINT}"), hook=True, json=ARGUMENTS)
        if answer.status_code != 200:
            return
        ticket = answer.json()
        began = time.monotonic()
        self.notes.add("cancel at once", _facts(await self._ask("PUT", ticket["cancel_url"])))
        self.notes.add("status of the cancelled", _facts(await self._ask("GET", ticket["status_url"])))
        self.notes.add("result of the cancelled", _facts(await self._ask("GET", ticket["response_url"])))
        if self.hook is not None:
            calls = await self.catcher.calls(ticket["request_id"], 1, began + self._call_patience)
            told = [{"after": round(call.at - began, 1), "body": call.fields} for call in calls]
            self.notes.add("webhook of the cancelled", {"came": bool(calls), **(told[0] if told else {})})

    @property
    def _call_patience(self) -> float:
        return CALL_PATIENCE / self.settings.time_factor

    async def _calls(self, request: str) -> None:
        """The first call was answered with 500: is the next one signed anew?"""
        if self.hook is None:
            self.notes.add("webhook", {"not looked at": "no --webhook address that leads to this machine"})
            return
        calls = await self.catcher.calls(request, 2, time.monotonic() + self._call_patience)
        if not calls:
            self.notes.add("webhook", {"came": False})
            return
        first, *rest = calls
        self.notes.add("webhook", {"came": True, "user agent": first.headers.get("user-agent"), "body": first.fields})
        self.notes.add("user id", {"pin with DARKROOM_FAL_USER_ID": first.headers.get("x-fal-webhook-user-id")})
        facts: dict[str, Any] = {"came": bool(rest)}
        if rest:
            signed = ("x-fal-webhook-timestamp", "x-fal-webhook-signature")
            facts |= {
                "after": round(rest[0].at - first.at, 1),
                "signed anew": any(first.headers.get(name) != rest[0].headers.get(name) for name in signed),
                "same request id": first.headers.get("x-fal-webhook-request-id")
                == rest[0].headers.get("x-fal-webhook-request-id"),
            }
        self.notes.add("webhook repeated", facts)

    async def _picture(self, result: httpx.Response) -> bool:
        pictures = _json(result).get("images") or []
        if not pictures:
            return False
        async with httpx.AsyncClient(timeout=60.0) as anybody:
            answer = await anybody.get(pictures[0]["url"])
        facts = {"host": httpx.URL(pictures[0]["url"]).host, "bytes": len(answer.content), "says": pictures[0]}
        self.notes.add("picture", _headers(answer) | facts)
        return answer.status_code == 200 and len(answer.content) > 0

    async def _ask(self, method: str, url: str, *, hook: bool = False, **request: Any) -> httpx.Response:
        if hook and self.hook:
            request["params"] = {"fal_webhook": self.hook}
        return await self.http.request(method, url, **request)

    def _at(self, host: str, path: str) -> str:
        return f"{self.settings.fal_url or f'https://{host}'}{path}"


def _facts(answer: httpx.Response) -> dict[str, Any]:
    return _headers(answer) | {"body": redacted(answer.text[:500])}


def _headers(answer: httpx.Response) -> dict[str, Any]:
    worth = {name: answer.headers[name] for name in HEADERS_WORTH_NOTING if name in answer.headers}
    return {"status": answer.status_code, "headers": worth}


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
