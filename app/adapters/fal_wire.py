"""The wire to fal: fal-client with our sender below it. The library repeats a submission up to ten times by itself;
here it never sees a failure it would repeat, so one call is one POST. Its addresses are fixed; here they may lead to a
sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any

import fal_client
import httpx

from app.adapters.fal_once import (
    CONNECTIONS,
    LARGEST_ANSWER,
    UNPACKED,
    Got,
    NoAnswer,
    NothingSent,
    Sender,
    TurnedDown,
    require_unpacked,
)

FAL_HOSTS = ("fal.run", "fal.ai")
FAL_FILE_HOSTS = ("fal.media",)


@dataclass(frozen=True)
class Waits:
    """Seconds of real time. `submit` and `read` bound a whole call, however slowly it trickles."""

    connect: float = 10.0
    submit: float = 60.0
    read: float = 30.0
    upload: float = 300.0


class Wire:
    """`origin` stands in for all of fal's hosts when it is set. Our key goes nowhere else, whatever we are given."""

    def __init__(self, key: str, origin: str | None, waits: Waits) -> None:
        self._origin = _origin(origin) if origin else None
        trusted = httpx.create_ssl_context(trust_env=False)  # by both: whom we ask is who we buy from
        limits = httpx.Limits(max_connections=CONNECTIONS)
        self._pool = httpx.AsyncHTTPTransport(verify=trusted, trust_env=False, limits=limits)
        anyone = {"User-Agent": fal_client.client.USER_AGENT, **UNPACKED}
        ours = {"Authorization": f"Key {key}", **anyone}
        self._reader = self._client(ours, waits.read, waits, FAL_HOSTS)
        self._stranger = self._client(anyone, waits.upload, waits, (*FAL_HOSTS, *FAL_FILE_HOSTS))
        self._sender = Sender(trusted, connect_within=waits.connect)
        self._buyer = _OneShot(key, _Till(self._sender, self._reader.headers, self._origin), waits.submit)

    async def submit(
        self, endpoint: str, arguments: dict[str, Any], webhook_url: str | None, headers: dict[str, str], **options: Any
    ) -> fal_client.AsyncRequestHandle:
        """One POST. Raises `NothingSent`, `NoAnswer` or `TurnedDown`."""
        return await self._buyer.submit(endpoint, arguments, webhook_url=webhook_url, headers=headers, **options)

    async def ask(self, method: str, url: str, **request: Any) -> Got:
        """With our key. Raises `NothingSent` or `NoAnswer`."""
        return _got(await self._reader.request(method, url, **request))

    async def ask_without_key(self, method: str, url: str, **request: Any) -> Got:
        return _got(await self._stranger.request(method, url, **request))

    def trusts(self, url: str) -> bool:
        """Whether our key may be sent there."""
        try:
            return _may_go(httpx.URL(url), self._origin, FAL_HOSTS)
        except httpx.InvalidURL:
            return False

    async def close(self) -> None:
        await self._pool.aclose()
        await self._sender.close()

    def _client(self, headers: dict[str, str], whole: float, waits: Waits, hosts: tuple[str, ...]) -> httpx.AsyncClient:
        transport = _Transport(self._pool, self._origin, whole, hosts)
        timeout = httpx.Timeout(whole, connect=waits.connect, pool=waits.connect)
        return httpx.AsyncClient(transport=transport, headers=headers, timeout=timeout, trust_env=False)


class _OneShot(fal_client.AsyncClient):
    """fal-client, paying at our till."""

    def __init__(self, key: str, till: _Till, within: float) -> None:
        super().__init__(key=key, default_timeout=within)
        self._till = till

    @property
    async def _client(self) -> Any:
        return self._till


class _Till:
    """What fal-client takes for its HTTP client; it asks it for POSTs and nothing else. Our exceptions are none of
    httpx's, so the retry loop above does not know them."""

    def __init__(self, sender: Sender, headers: httpx.Headers, origin: httpx.URL | None) -> None:
        self._sender = sender
        self._headers = {name.decode(): value.decode() for name, value in headers.raw}
        self._origin = origin

    async def request(
        self, method: str, url: str, *, json: Any, headers: Mapping[str, str], timeout: float
    ) -> httpx.Response:
        """The same request as httpx would send. The address holds our tag: nothing here writes it into a log."""
        asked = httpx.URL(url)
        if not _may_go(asked, self._origin, FAL_HOSTS):
            raise NothingSent(f"{asked.host} is not one of fal's hosts: nothing is sent there.")
        to = self._origin or asked
        address = f"{to.scheme}://{to.netloc.decode()}{asked.raw_path.decode()}"
        every = {**self._headers, "Content-Type": "application/json", **headers}
        body = dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        got = await self._sender.post(address, every, body, within=timeout)
        return _taken(got, httpx.Request(method, asked))


def _taken(got: Got, request: httpx.Request) -> httpx.Response:
    """An answer that names the request fal made of ours."""
    response = httpx.Response(got.status, headers=got.headers, content=got.body, request=request)
    if not response.is_success:
        raise TurnedDown(_got(response))
    if not _names_a_request(response):
        raise NoAnswer("fal answered a submission with something that names no request.")
    return response


class _Transport(httpx.AsyncBaseTransport):
    """Sends a request where it may go, reads the whole answer, and says of each failure whether anything had been sent.
    Its exceptions are none of httpx's, so no retry loop above knows them."""

    def __init__(
        self, pool: httpx.AsyncBaseTransport, origin: httpx.URL | None, whole: float, hosts: tuple[str, ...]
    ) -> None:
        self._pool = pool
        self._origin = origin
        self._whole = whole
        self._hosts = hosts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        outgoing = self._addressed(request)
        try:
            async with asyncio.timeout(self._whole):
                return await self._exchange(outgoing)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as e:
            raise NothingSent(f"No connection to {outgoing.url.host}: {e or type(e).__name__}") from e
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as e:
            raise NoAnswer(f"No answer from {outgoing.url.host}: {e or type(e).__name__}") from e

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response = await self._pool.handle_async_request(request)
        try:
            require_unpacked(response.headers)
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise NoAnswer(f"The answer is larger than {LARGEST_ANSWER} bytes.")
        finally:
            await response.aclose()
        return httpx.Response(
            response.status_code, headers=response.headers, content=bytes(body), extensions=response.extensions
        )

    def _addressed(self, request: httpx.Request) -> httpx.Request:
        if not _may_go(request.url, self._origin, self._hosts):
            raise NothingSent(f"{request.url.host} is not one of fal's hosts: nothing is sent there.")
        if self._origin is None:
            return request
        url = self._origin.copy_with(raw_path=request.url.raw_path)
        headers = request.headers.copy()
        headers["Host"] = url.netloc.decode()
        return httpx.Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)


def _names_a_request(response: httpx.Response) -> bool:
    try:
        answer = response.json()
        return all(isinstance(answer[name], str) for name in ("request_id", "response_url", "status_url", "cancel_url"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _got(response: httpx.Response) -> Got:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Got(response.status_code, headers, response.content)


def _origin(text: str) -> httpx.URL:
    url = httpx.URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.raw_path != b"/" or url.fragment:
        raise ValueError(f"fal's address has to look like http://127.0.0.1:9000, not like {text!r}.")
    return url


def _may_go(url: httpx.URL, origin: httpx.URL | None, hosts: tuple[str, ...]) -> bool:
    if url.userinfo:
        return False
    if origin is not None and (url.scheme, url.host, url.port) == (origin.scheme, origin.host, origin.port):
        return True
    known = any(url.host == host or url.host.endswith(f".{host}") for host in hosts)
    return known and url.scheme == "https" and url.port is None
