"""fal.ai, or the sandbox that plays it: what is asked, and where. `fal_wire` sends, `fal_answers` reads what comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.adapters import fal_answers as answers
from app.adapters.fal_once import Got, NoAnswer, NothingSent, TurnedDown
from app.core.errors import Unavailable
from app.ports import Accepted, Answer, ListedRequest, Progress, Submission, Ticket, Unanswered, Unsent

if TYPE_CHECKING:
    from fal_client import AsyncRequestHandle

    from app.adapters.fal_wire import Waits

_QUEUE = "https://queue.fal.run"
_REST = ("https://rest.fal.ai", "https://rest.alpha.fal.ai")  # the second is the older name of the first
_PLATFORM = "https://api.fal.ai/v1"
_FILES = "https://v3.fal.media"

_CONNECTION_TRIES = 3
_MOST_KEYS = 16
_PAGE, _MOST_PAGES = 100, 50
_NAMESPACES = {"workflows", "comfy"}
_PROBE = "00000000-0000-0000-0000-000000000000"


class FalProvider:
    """`origin` is DARKROOM_FAL_URL. Files made for us live `files_kept` at fal: long enough to mirror them after an
    outage of ours, no longer."""

    def __init__(
        self,
        key: str,
        *,
        origin: str | None = None,
        files_kept: timedelta = timedelta(days=3),
        waits: Waits | None = None,
    ) -> None:
        from app.adapters import fal_wire

        self._wire = fal_wire.Wire(key, origin, waits or fal_wire.Waits())
        self._queue = (origin or _QUEUE).rstrip("/")
        self._lifecycle = json.dumps({"expiration_duration_seconds": int(files_kept.total_seconds())})
        self._upload_token = ("", datetime.min.replace(tzinfo=UTC))

    async def submit(
        self,
        endpoint: str,
        arguments: Mapping[str, Any],
        *,
        webhook_url: str | None,
        low_priority: bool = False,
        start_timeout: float | None = None,
    ) -> Submission:
        headers = {"X-Fal-Object-Lifecycle-Preference": self._lifecycle}
        if start_timeout is not None:  # fal-client itself sends the name of old, X-Fal-Request-Timeout
            headers["X-Fal-Request-Start-Timeout"] = str(float(start_timeout))
        try:
            handle = await self._repeated_until_sent(
                endpoint,
                dict(arguments),
                webhook_url,
                headers,
                priority="low" if low_priority else None,
                start_timeout=start_timeout,
            )
        except NothingSent as e:
            return Unsent(str(e))
        except NoAnswer as e:
            return Unanswered(str(e))
        except TurnedDown as e:
            return answers.refusal(e.got.status, e.got.headers, e.got.body)
        return Accepted(self._ticket_of(endpoint, handle))

    def ticket(self, endpoint: str, request_id: str) -> Ticket:
        parts = endpoint.split("/")
        app = "/".join(parts[: 3 if parts[0] in _NAMESPACES else 2])
        base = f"{self._queue}/{app}/requests/{quote(request_id, safe='')}"
        return Ticket(endpoint, request_id, f"{base}/status", base, f"{base}/cancel")

    async def progress(self, ticket: Ticket, *, logs: bool = False) -> Progress:
        try:
            got = await self._wire.ask("GET", ticket.status_url, params={"logs": logs})
        except (NothingSent, NoAnswer) as e:
            return Progress("unclear", detail=str(e))
        return answers.progress(got.status, got.body)

    async def result(self, ticket: Ticket) -> Answer:
        try:
            got = await self._wire.ask("GET", ticket.response_url)
        except (NothingSent, NoAnswer) as e:
            return Answer(0, str(e))
        return answers.result(got.status, got.headers, got.body)

    async def cancel(self, ticket: Ticket) -> str:
        try:
            got = await self._wire.ask("PUT", ticket.cancel_url)
        except (NothingSent, NoAnswer):
            return "unclear"
        return answers.cancelled(got.status, got.body)

    async def listed(self, endpoint: str, since: datetime, until: datetime) -> Sequence[ListedRequest] | None:
        query = {
            "endpoint_id": endpoint,
            "start": _utc(since),
            "end": _utc(until),
            "expand": "payloads",
            "limit": _PAGE,
        }
        found: list[ListedRequest] = []
        for _ in range(_MOST_PAGES):
            got = await self._needed("GET", f"{_PLATFORM}/models/requests/by-endpoint", params=query)
            if got.status in (401, 403):
                return None
            page = _success(got, "fal's list of requests")
            found += answers.listed(page.get("items") or (), endpoint)
            if not page.get("next_cursor"):
                return found
            query["cursor"] = page["next_cursor"]
        raise Unavailable("fal's list of requests is too long to be read whole.")

    async def keys(self) -> Sequence[bytes]:
        failure = ""
        for host in _REST:
            try:
                got = await self._wire.ask_without_key("GET", f"{host}/.well-known/jwks.json")
            except (NothingSent, NoAnswer) as e:
                failure = str(e)
                continue
            if got.status == 200 and (keys := answers.ed25519_keys(got.body, _MOST_KEYS)):
                return keys
            failure = f"fal answered {got.status} and no key that could be read."
        raise Unavailable(f"fal's webhook keys could not be had: {failure}")

    async def place(self, chunks: AsyncIterator[bytes], *, size: int, content_type: str, name: str) -> str:
        """The same requests as fal-client's own upload, which takes whole files in memory and plain https only."""
        headers = {
            "Authorization": await self._token_for_uploads(),
            "Content-Type": content_type,
            "Content-Length": str(size),
            "X-Fal-File-Name": name,
            "X-Fal-Object-Lifecycle": self._lifecycle,
            "X-Fal-Object-Lifecycle-Preference": self._lifecycle,
        }
        try:
            got = await self._wire.ask_without_key("POST", f"{_FILES}/files/upload", headers=headers, content=chunks)
        except (NothingSent, NoAnswer) as e:
            raise Unavailable(f"A reference could not be handed to fal: {e}") from e
        url = _success(got, "An upload to fal").get("access_url")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise Unavailable("fal took a reference but did not say where it is.")
        return url

    async def check(self) -> None:
        """Asks for a request that cannot exist: no such request is the answer of a fal that knows our key."""
        got = await self._needed("GET", self.ticket("fal-ai/flux", _PROBE).status_url)
        said = answers.detail_of(answers.json_of(got.body), got.body)
        if got.status in (401, 403):
            raise Unavailable(
                f"fal does not take the key ({got.status}: {said}). Check the key, and the balance at fal."
            )
        if got.status >= 500 or got.status == 429:
            raise Unavailable(f"fal is not well ({got.status}: {said}). Try again in a while.")

    async def close(self) -> None:
        await self._wire.close()

    async def _repeated_until_sent(self, *request: Any, **options: Any) -> AsyncRequestHandle:
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        repeated = AsyncRetrying(
            stop=stop_after_attempt(_CONNECTION_TRIES),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            retry=retry_if_exception_type(NothingSent),
            reraise=True,
        )
        return await repeated(self._wire.submit, *request, **options)

    def _ticket_of(self, endpoint: str, handle: AsyncRequestHandle) -> Ticket:
        """The three URLs fal gave; derived ones instead if following those would carry our key elsewhere."""
        given = Ticket(endpoint, handle.request_id, handle.status_url, handle.response_url, handle.cancel_url)
        derived = self.ticket(endpoint, handle.request_id)
        if given == derived or all(map(self._wire.trusts, (given.status_url, given.response_url, given.cancel_url))):
            return given
        return derived

    async def _token_for_uploads(self) -> str:
        token, expires = self._upload_token
        if datetime.now(UTC) + timedelta(minutes=5) > expires:
            got = await self._needed("POST", f"{_REST[0]}/storage/auth/token?storage_type=fal-cdn-v3", json={})
            given = _success(got, "fal's permission to upload")
            try:
                token = f"{given['token_type']} {given['token']}"
                self._upload_token = token, datetime.fromisoformat(given["expires_at"])
            except (KeyError, TypeError, ValueError) as e:
                raise Unavailable("fal's permission to upload could not be read.") from e
        return token

    async def _needed(self, method: str, url: str, **request: Any) -> Got:
        try:
            return await self._wire.ask(method, url, **request)
        except (NothingSent, NoAnswer) as e:
            raise Unavailable(str(e)) from e


def _success(got: Got, what: str) -> dict[str, Any]:
    answer = answers.json_of(got.body)
    if got.status != 200 or not isinstance(answer, dict):
        raise Unavailable(f"{what} failed ({got.status}: {answers.detail_of(answer, got.body)}).")
    return answer


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
