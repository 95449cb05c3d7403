"""What the tests may do to an installation from inside, while its service runs or rests: make workspaces and keys, and
have every check of every feature look."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import TypeVar

from app.accounts.development import DEVELOPMENT
from app.accounts.keys import create_key, new_row
from app.accounts.model import WorkspaceKind
from app.accounts.page import signin_link
from app.accounts.secrets import new_key
from app.accounts.workspaces import create_workspace
from app.core.ids import Ids
from app.core.principal import EVERYTHING_IN_A_WORKSPACE, Scope
from app.credits.ledger import grant
from app.settings import Settings
from app.store.database import Database
from app.store.write import Tx
from app.wiring import FEATURES, database_of, wire

T = TypeVar("T")

IDS = Ids(lambda: datetime.now(UTC), os.urandom)


def newcomer(settings: Settings, credits: int = 1_000) -> str:
    """A workspace of its own, with credits; its key."""
    workspace = IDS.new("ws")

    def founded(tx: Tx) -> None:
        create_workspace(tx, workspace, "a newcomer", WorkspaceKind.TEST)
        if credits:
            grant(tx, IDS.new("xfer"), workspace, credits, "to begin with")

    _within(settings, lambda db: db.write(founded))
    return _key(settings, workspace, EVERYTHING_IN_A_WORKSPACE)


def operator(settings: Settings) -> str:
    """A key of the installation itself."""
    return _key(settings, None, frozenset(Scope))


def ticket(settings: Settings) -> str:
    """What a sign-in link to the workspace of the tests ends with."""
    link = _within(settings, lambda db: signin_link(db, IDS, "", DEVELOPMENT))
    return link.partition("ticket=")[2]


def violations(settings: Settings) -> list[str]:
    """What the checks find wrong; looks at nothing at all only when nothing was made."""
    return asyncio.run(_checked(settings))


async def _checked(settings: Settings) -> list[str]:
    services = wire(settings, f"http://localhost:{settings.port}").services
    await services.db.open()
    try:
        found = [(check.name, await check.find(services)) for feature in FEATURES for check in feature.checks]
    finally:
        for port in (services.provider, services.vision, services.blobs, services.fetcher, services.darkroom):
            await port.close()
        await services.db.close()
    return [f"{name}: {violation}" for name, each in found for violation in each.violations]


def _key(settings: Settings, workspace: str | None, scopes: Collection[Scope]) -> str:
    id_ = IDS.new("key")
    secret = new_key(id_, IDS.secret(), live=False)
    now = datetime.now(UTC)
    row = new_row(id_, secret, workspace=workspace, name="of a test", scopes=scopes, now=now)
    _within(settings, lambda db: db.write(lambda tx: create_key(tx, row)))
    return secret.text


def _within(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    async def done() -> T:
        db = database_of(settings)
        await db.open()
        try:
            return await work(db)
        finally:
            await db.close()

    return asyncio.run(done())
