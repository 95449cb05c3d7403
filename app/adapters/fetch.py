"""The guarded way out to an address that somebody else chose (D20). We connect to what was judged: the resolver judges
every address of an answer, and the socket judges once more the one that is taken."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, BinaryIO

from app.adapters.addresses import FAL_RESULT_HOSTS, UNREACHABLE, Origin, Policy, is_public, parsed
from app.core.errors import StorageFull
from app.ports import FetchFailed, FetchRefused

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

Lookup = Callable[[str], Awaitable[Collection[str]]]

_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA}
_REDIRECTS = {301, 302, 303, 307, 308}
_REDIRECTS_FOLLOWED = {"user": 3, "result": 0}  # fal's files never redirect; people's pictures often do


@dataclass(frozen=True)
class Limits:
    """Seconds of real time: a slow server is slow at any pace of ours."""

    lookup: float = 5.0
    connect: float = 10.0
    idle: float = 20.0
    total: float = 300.0


class GuardedFetcher:
    """`result_origin` is DARKROOM_FAL_URL, the one address of any kind that may deliver results. Tests
    say with `lookup` and `tls` who is where."""

    def __init__(
        self,
        *,
        result_origin: str | None = None,
        result_hosts: Collection[str] = FAL_RESULT_HOSTS,
        limits: Limits = Limits(),
        lookup: Lookup | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        origin = Origin.of(parsed(result_origin)) if result_origin else None
        self._policy = Policy(result_hosts, origin)
        self._limits = limits
        self._threads = ThreadPoolExecutor(8, "lookup")  # its own: a slow name server delays nothing but names
        self._names = _JudgedNames(lookup or self._look_up, limits.lookup)
        self._tls = tls
        self._guarded: ClientSession | None = None
        self._origin: ClientSession | None = None

    def judge(self, url: str, *, purpose: str) -> None:
        self._policy.judge(parsed(url), purpose)

    async def fetch(self, url: str, into: Path, *, purpose: str, max_bytes: int) -> str:
        target = parsed(url)
        try:
            with _whole_or_nothing(into) as file:
                async with asyncio.timeout(self._limits.total), self._answer(target, purpose) as response:
                    await _save(response, file, max_bytes)
                    return response.headers.get("Content-Type", "")
        except Exception as e:
            raise _failure(e, purpose) from e

    async def close(self) -> None:
        for session in (self._guarded, self._origin):
            if session is not None:
                await session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def _answer(self, url: URL, purpose: str) -> AsyncIterator[ClientResponse]:
        """The final answer to GET: status 200, said to be plain bytes of a known length."""
        for _ in range(_REDIRECTS_FOLLOWED[purpose] + 1):
            self._policy.judge(url, purpose)
            async with self._session(url, purpose).get(url, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    _judge_answer(response)
                    yield response
                    return
                url = _next(url, response.headers.get("Location", ""))
        raise FetchRefused("The address redirects, and that is not followed any further.")

    def _session(self, url: URL, purpose: str) -> ClientSession:
        if purpose == "result" and self._policy.is_result_origin(url):
            self._origin = self._origin or self._new_session()
            return self._origin
        self._guarded = self._guarded or self._new_session(
            resolver=self._names, socket_factory=_judged_socket, use_dns_cache=False
        )
        return self._guarded

    async def _look_up(self, host: str) -> Collection[str]:
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _addresses, host)
        return dict.fromkeys(str(address[0]) for *_, address in found)

    def _new_session(self, **guards: Any) -> ClientSession:
        import aiohttp

        limits = self._limits
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls or True, limit=64, **guards),
            timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect + limits.lookup, sock_read=limits.idle),
            headers={"Accept-Encoding": "identity", "Accept": "image/*, */*;q=0.1", "User-Agent": "darkroom"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )


class _JudgedNames:
    """A resolver for aiohttp. Every address of the answer has to be public: one that is not spoils the name."""

    def __init__(self, lookup: Lookup, patience: float) -> None:
        self._lookup = lookup
        self._patience = patience

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:  # noqa: ARG002 - aiohttp's
        try:
            async with asyncio.timeout(self._patience):
                addresses = await self._lookup(host)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "The name server was too slow.") from None
        if not addresses or not all(map(is_public, addresses)):
            raise FetchRefused(UNREACHABLE)
        return [_resolved(host, address, port) for address in addresses]


def _resolved(host: str, address: str, port: int) -> dict[str, Any]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": flags}


def _addresses(host: str) -> list[Any]:
    return socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)


def _judged_socket(info: tuple[Any, ...]) -> socket.socket:
    """The last gate, for names and literal addresses alike: no socket for an address that is not public."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise PermissionError(errno.EACCES, UNREACHABLE)
    return socket.socket(family, kind, protocol)


def _next(url: URL, location: str) -> URL:
    if not location:
        raise FetchFailed("The server answered with a redirect to nowhere.")
    try:
        return url.join(parsed(location))
    except ValueError:
        raise FetchRefused("The address redirects to something that is not a URL.") from None


def _judge_answer(response: ClientResponse) -> None:
    if response.status != 200:
        raise FetchFailed(f"The server answered {response.status}.", response.status)
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise FetchRefused("The server sent a compressed answer although it was asked for plain bytes.")
    if response.content_length is None and "chunked" not in response.headers.get("Transfer-Encoding", "").lower():
        raise FetchFailed("The server does not say how long its answer is.")


async def _save(response: ClientResponse, file: BinaryIO, max_bytes: int) -> None:
    too_large = FetchRefused(f"The file is larger than {max_bytes} bytes.")
    if (response.content_length or 0) > max_bytes:
        raise too_large
    received = 0
    async for chunk in response.content.iter_any():
        received += len(chunk)
        if received > max_bytes:
            raise too_large
        file.write(chunk)
    if response.content_length not in (None, received):
        raise FetchFailed("The server sent another number of bytes than it had said.")


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[BinaryIO]:
    """Written from the loop: 64 KB into the page cache take less time than handing them to a thread."""
    try:
        with path.open("wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _failure(error: Exception, purpose: str) -> Exception:
    """What the caller is told: the same words whoever refused, and whether or not anybody was there."""
    import aiohttp

    match error:
        case aiohttp.InvalidURL():
            return FetchRefused(UNREACHABLE)
        case aiohttp.ClientConnectorDNSError() if purpose == "user" and error.errno in _NO_SUCH_NAME:
            return FetchRefused(UNREACHABLE)
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return FetchFailed(UNREACHABLE)
        case TimeoutError():
            return FetchFailed("The server was too slow.")
        case aiohttp.ClientError():
            return FetchFailed("The transfer broke off.")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            return StorageFull("There is no room for the file.")
        case OSError():
            return FetchFailed("The transfer broke off.")
    return error
