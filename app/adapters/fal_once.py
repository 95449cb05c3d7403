"""Sending once, over aiohttp, and saying of each failure whether anything had been sent. Submissions leave this way:
with httpx's pool each costs the more the more of them are under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl import SSLContext

    from aiohttp import ClientResponse, ClientSession

LARGEST_ANSWER = 20_000_000
CONNECTIONS = 100
UNPACKED = {"Accept-Encoding": "identity"}
"""Asked of fal with each request: an answer's size is known only of what has not been packed."""

_IDLE = 5.0
"""Seconds that an idle connection is kept: less than servers keep them, so that none is closed just when it is used."""


class NothingSent(Exception):
    """No connection: not a byte of the request has left."""


class NoAnswer(Exception):
    """The request may have arrived, and nothing that could be read came back."""


@dataclass(frozen=True)
class Got:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TurnedDown(Exception):
    """A submission was answered with something else than success."""

    def __init__(self, got: Got) -> None:
        super().__init__(f"answered {got.status}")
        self.got = got


class Sender:
    """aiohttp repeats what is idempotent, so it is a POST that is sent. Opened at the first use, and kept."""

    def __init__(self, trusted: SSLContext, *, connect_within: float) -> None:
        self._trusted = trusted
        self._connect_within = connect_within
        self._session: ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, within: float) -> Got:
        """The answer as it came over the wire. `within` bounds all of it, however slowly it trickles.

        Raises:
            NothingSent: there was no connection.
            NoAnswer: there was one, and the rest is not known.
        """
        import aiohttp
        from yarl import URL

        self._session = self._session or self._opened()
        address = URL(url, encoded=True)
        posting = self._session.post(address, headers=headers, data=body, allow_redirects=False)
        try:
            async with asyncio.timeout(within), posting as response:
                require_unpacked(response.headers)
                lower = {name.lower(): value for name, value in response.headers.items()}
                return Got(response.status, lower, await _whole(response))
        except (aiohttp.ClientError, OSError) as e:
            raise _told(e, address.host) from None  # in its own words may stand the whole address, a tag in it

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> ClientSession:
        import aiohttp

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._trusted, limit=CONNECTIONS, keepalive_timeout=_IDLE),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_within),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )


def require_unpacked(headers: Mapping[str, str]) -> None:
    """Raises NoAnswer: what is packed may be a thousand times as large as it looks."""
    if headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise NoAnswer("The answer is packed, which was not asked for.")


async def _whole(response: ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise NoAnswer(f"The answer is larger than {LARGEST_ANSWER} bytes.")
    return bytes(body)


def _told(error: Exception, host: str | None) -> NothingSent | NoAnswer:
    import aiohttp

    match error:
        case aiohttp.ClientConnectorError(os_error=cause):
            return NothingSent(f"No connection to {host}: {cause.strerror or type(cause).__name__}")
        case aiohttp.ConnectionTimeoutError():
            return NothingSent(f"No connection to {host}: {type(error).__name__}")
    return NoAnswer(f"No answer from {host}: {type(error).__name__}")
