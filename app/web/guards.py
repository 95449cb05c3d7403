"""What is checked before anybody is believed: who a request says it is from, and whether a browser was tricked into
sending it. Whether the credentials are any good is for the accounts room to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.core.errors import FieldError, Forbidden, InvalidRequest, Malformed, NotAuthenticated

ONCE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"host",
        b"idempotency-key",
        b"last-event-id",
        b"origin",
        b"sec-fetch-site",
        b"transfer-encoding",
        b"x-request-id",
    }
)
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_WAIT = 60.0
WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?:$|[,;])')
PRINTABLE = re.compile(r"^[\x20-\x7e]{1,255}\Z")
BEARER = re.compile(r"^bearer +([A-Za-z0-9._~+/=-]+) *\Z", re.IGNORECASE)


class Credentials(NamedTuple):
    """What a request brought to say who it is."""

    bearer: str | None
    session: str | None
    method: str
    origin: str | None
    fetch_site: str | None
    host: str


@dataclass(frozen=True)
class Limits:
    """How large a request may be. Sizes are in bytes."""

    body: int = 1_000_000
    depth: int = 32
    query: int = 8_000
    form: int = 520_000_000
    file: int = 25_000_000
    files: int = 20
    field: int = 100_000
    fields: int = 50
    part_headers: int = 8
    part_header: int = 4_096


def headers_of(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The headers by name.

    Raises:
        Malformed: one that only makes sense once came twice, so that two readers could believe different things.

    """
    pairs = scope["headers"]
    headers = dict(pairs)
    if len(headers) != len(pairs):
        seen: set[bytes] = set()
        for name, _ in pairs:
            if name in seen and name in ONCE:
                where = f"/header/{name.decode('latin-1')}"
                raise Malformed(
                    "A header came twice.", errors=[FieldError(where, "Send this header once.", "repeated")]
                )
            seen.add(name)
        headers[b"cookie"] = b"; ".join(value for name, value in pairs if name == b"cookie")
    return headers


def credentials_of(method: str, headers: Mapping[bytes, bytes], *, secure: bool) -> Credentials:
    """What came with the request to say who it is from.

    Raises:
        NotAuthenticated: an Authorization header that is not `Bearer` and a key.
        Forbidden: a session, and a browser that does not vouch for the request.

    """
    bearer = session = None
    if (given := headers.get(b"authorization")) is not None:
        if (match := BEARER.match(given.decode("latin-1"))) is None:
            raise NotAuthenticated("Send the key as: Authorization: Bearer <key>.")
        bearer = match[1]
    elif (cookies := headers.get(b"cookie")) is not None:
        session = _session(cookies.decode("latin-1"), cookie_name(secure=secure))
    origin = _text(headers.get(b"origin"))
    credentials = Credentials(
        bearer,
        session,
        method,
        origin,
        _text(headers.get(b"sec-fetch-site")),
        headers.get(b"host", b"").decode("latin-1"),
    )
    if session is not None:
        refuse_forgery(credentials)
    return credentials


def refuse_forgery(credentials: Credentials) -> None:
    """A browser sends the session's cookie along with whatever another site makes it send. What changes something has
    to come from our own pages: the browser says so in Sec-Fetch-Site, older ones in Origin.

    Raises:
        Forbidden: neither says so.

    """
    if credentials.method in SAFE:
        return
    if credentials.fetch_site is not None:
        ours = credentials.fetch_site in {"same-origin", "none"}
    else:
        ours = credentials.origin is not None and credentials.origin.partition("://")[2] == credentials.host
    if not ours:
        raise Forbidden(
            "A session may only change things from our own pages. Programs use a key: Authorization: Bearer."
        )


def cookie_name(*, secure: bool) -> str:
    """`__Host-` makes the browser refuse such a cookie from a sibling domain, but it wants https."""
    return "__Host-darkroom_session" if secure else "darkroom_session"


def wait_of(headers: Mapping[bytes, bytes]) -> float | None:
    """The seconds of `Prefer: wait=N`, as many of them as can be granted: the answer says how many (RFC 7240)."""
    if (given := headers.get(b"prefer")) is None:
        return None
    match = WAIT.search(given.decode("latin-1").lower())
    return min(float(match[1]), LONGEST_WAIT) if match else None


def fetches_ahead(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser only asks in case somebody will look, so that nothing may be used up by the answer."""
    said = headers.get(b"sec-purpose") or headers.get(b"purpose") or headers.get(b"x-purpose", b"")
    return b"prefetch" in said.lower() or b"preview" in said.lower()


def idempotency_word(headers: Mapping[bytes, bytes]) -> str | None:
    """The caller's Idempotency-Key.

    Raises:
        InvalidRequest: it is not 1 to 255 printable ASCII characters.

    """
    if (given := headers.get(b"idempotency-key")) is None:
        return None
    word = given.decode("latin-1")
    if PRINTABLE.match(word) is None:
        wrong = FieldError("/header/idempotency-key", "Use 1 to 255 printable ASCII characters, a UUID say.", "format")
        raise InvalidRequest("The Idempotency-Key cannot be used.", errors=[wrong])
    return word


def _session(cookies: str, name: str) -> str | None:
    found = {value.strip() for key, _, value in (c.partition("=") for c in cookies.split(";")) if key.strip() == name}
    if len(found) > 1:
        raise NotAuthenticated("Two sessions came with the request. Delete this site's cookies and log in again.")
    return found.pop() or None if found else None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
