"""From what came with a request to who is asking. What is not known, revoked, expired or malformed is answered alike.

An answer is believed for at most a second: a key in heavy use then costs no query, and a revoked one still stops at
once, in every process. The same holds for those who read streams: asked about again for each page, and all of them in
one question a second.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from sqlalchemy import bindparam, or_, select

from app.accounts.keys import touch_key
from app.accounts.model import SYSTEM, KeyRow, SessionRow
from app.accounts.secrets import hashed, key_id, session_id
from app.core.errors import NotAuthenticated
from app.core.principal import Principal, Scope
from app.services import Services
from app.store.columns import table
from app.web.guards import Credentials

BELIEVED_FOR = 1.0
REMEMBERED = 4096
USE_NOTED_EVERY = timedelta(minutes=1)


_K, _S = table(KeyRow).c, table(SessionRow).c
_LIVING_KEYS = select(_K.id).where(
    _K.id.in_(bindparam("those", expanding=True)),
    _K.revoked_at.is_(None),
    or_(_K.expires_at.is_(None), _K.expires_at > bindparam("now")),
)
_LIVING_SESSIONS = select(_S.id).where(
    _S.id.in_(bindparam("those", expanding=True)), _S.ended_at.is_(None), _S.expires_at > bindparam("now")
)


class Authenticator:
    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Principal]] = {}
        self._living: dict[str, float] = {}
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def authenticate(self, services: Services, credentials: Credentials) -> Principal:
        """Who is asking.

        Raises:
            NotAuthenticated: nobody we know.
        """
        text = credentials.bearer or credentials.session
        if text is None:
            raise NotAuthenticated("Send a key: Authorization: Bearer dk_... . Or sign in, in a browser.")
        # The two kinds are told apart by their shape, so that a cookie is no key and a key is no cookie.
        known_as = hashed(text if credentials.bearer else f"session {text}")
        if (principal := self._believed(services, known_as)) is None:
            # One looks it up; the others that came with the same meanwhile wait for its answer.
            async with self._asking.setdefault(known_as, asyncio.Lock()):
                principal = self._believed(services, known_as) or await self._ask(services, credentials, known_as)
        return principal

    def _believed(self, services: Services, known_as: str) -> Principal | None:
        until, principal = self._known.get(known_as, (0.0, None))
        return principal if services.clock.monotonic() < until else None

    async def _ask(self, services: Services, credentials: Credentials, known_as: str) -> Principal:
        now = services.clock.monotonic()
        if credentials.bearer:
            principal = await _by_key(services, credentials.bearer)
        else:
            principal = await _by_session(services, credentials.session or "")
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[known_as] = now + BELIEVED_FOR, principal
        return principal

    async def recheck(self, services: Services, principal: Principal) -> None:
        """Raises `NotAuthenticated` when the key or the session has ended since."""
        actor = principal.actor
        if self._lives(services, actor):
            return
        async with self._asking.setdefault(actor, asyncio.Lock()):
            if not self._lives(services, actor) and await self.ended(services, [actor]):
                raise _nobody()

    async def ended(self, services: Services, actors: Collection[str]) -> frozenset[str]:
        """Those of these keys and sessions that may no longer be used."""
        until = services.clock.monotonic() + BELIEVED_FOR
        sessions = [actor for actor in actors if actor.startswith("session_")]
        keys = [actor for actor in actors if not actor.startswith("session_")]
        now = services.clock.now()
        living: set[str] = set()
        async with services.db.read() as session:
            for query, wanted in ((_LIVING_KEYS, keys), (_LIVING_SESSIONS, sessions)):
                if wanted:
                    rows = await session.exec(query, params={"those": wanted, "now": now})  # type: ignore[call-overload]
                    living.update(rows.scalars())
        if len(self._living) >= REMEMBERED:
            self._living.clear()
        self._living.update(dict.fromkeys(living, until))
        return frozenset(actors) - living

    def _lives(self, services: Services, actor: str) -> bool:
        return services.clock.monotonic() < self._living.get(actor, 0.0)


async def _by_key(services: Services, text: str) -> Principal:
    if (key := key_id(text)) is None:
        raise _nobody()
    async with services.db.read() as session:
        row = await session.get(KeyRow, key)
    now = services.clock.now()
    genuine = hmac.compare_digest(row.sha256 if row else "0" * 64, hashed(text))
    if row is None or not genuine or _ended(row, now):
        raise _nobody()
    noted_before = now - USE_NOTED_EVERY
    if row.last_used_at is None or row.last_used_at < noted_before:
        services.db.hint(lambda tx: touch_key(tx, key, noted_before), f"used:{key}")
    return Principal(row.workspace or SYSTEM, key, _scopes(row.scopes))


async def _by_session(services: Services, text: str) -> Principal:
    if (id_ := session_id(text)) is None:
        raise _nobody()
    async with services.db.read() as session:
        row = await session.get(SessionRow, id_)
    genuine = hmac.compare_digest(row.sha256 if row else "0" * 64, hashed(text))
    if row is None or not genuine or _ended(row, services.clock.now()):
        raise _nobody()
    return Principal(row.workspace, id_, _scopes(row.scopes))


def _ended(row: KeyRow | SessionRow, now: datetime) -> bool:
    stopped = row.revoked_at if isinstance(row, KeyRow) else row.ended_at
    return stopped is not None or (row.expires_at is not None and row.expires_at <= now)


def _nobody() -> NotAuthenticated:
    return NotAuthenticated("This key or session is not valid: unknown, expired or revoked.")


def _scopes(kept: list[str]) -> frozenset[Scope]:
    """Those that still exist: one that was taken out of the program must not lock anybody out."""
    return frozenset(Scope(scope) for scope in kept if scope in set(Scope))
