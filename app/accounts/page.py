"""The one page for people here: the link that signs their browser in."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic import BaseModel, ConfigDict, Field

from app.accounts.secrets import new_cookie, new_ticket
from app.accounts.signin import LINK_LIFETIME, SESSION_LIFETIME, create_signin, use_signin
from app.core.errors import Unavailable
from app.core.ids import Ids
from app.services import Services
from app.store.database import Database
from app.web.guards import cookie_name
from app.web.operation import Download, Operation, Redirect

_TOO_LATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Darkroom</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/studio.css">
<main class="door">
  <p class="lamp" aria-hidden="true"></p>
  <h1>This link no longer works</h1>
  <p>A sign-in link works once, within {minutes} minutes. If this browser is signed in already, go on to
  <a href="/">the studio</a>.</p>
  <p>For a new link, run <code>darkroom admin signin WORKSPACE</code> on the server, or <code>darkroom dev</code> again
  on your own machine.</p>
</main>
</html>
"""
_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"


class SigninQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ticket: str = Field(max_length=100)


async def signin_link(db: Database, ids: Ids, base_url: str, workspace: str) -> str:
    """An address that signs whoever opens it first in to `workspace`."""
    ticket = new_ticket(ids.secret())
    await db.write(lambda tx: create_signin(tx, ticket, workspace))
    return f"{base_url}/signin?ticket={ticket.text}"


async def get_signin(services: Services, query: SigninQuery, prefetch: bool) -> Redirect | Download:  # noqa: FBT001
    """Begin a session in this browser, and go to the first page. A browser that fetches ahead uses nothing up."""
    if prefetch:
        raise Unavailable("This link works once, so it waits until somebody opens it.")
    session = services.ids.new("session")
    cookie = new_cookie(session, services.ids.secret())
    if not await services.db.write(lambda tx: use_signin(tx, query.ticket, session, cookie)):
        minutes = int(LINK_LIFETIME.total_seconds() // 60)
        page = _TOO_LATE.format(minutes=minutes).encode()
        return Download(_once(page), "text/html; charset=utf-8", len(page), inline=True, status=410, policy=_POLICY)
    return Redirect("/", headers={"set-cookie": set_cookie(services, cookie.text), "cache-control": "no-store"})


def set_cookie(services: Services, value: str) -> str:
    secure = services.base_url.startswith("https://")
    lifetime = int(SESSION_LIFETIME.total_seconds())
    ends = "; Secure" if secure else ""
    return f"{cookie_name(secure=secure)}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Lax{ends}"


async def _once(page: bytes) -> AsyncIterator[bytes]:
    yield page


PAGES = (
    Operation(
        "GET",
        "/signin",
        get_signin,
        status=410,
        media=("text/html",),
        summary="Sign a browser in by its one-time link",
        tag="accounts",
        absolute=True,
    ),
)
