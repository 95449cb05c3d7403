"""The database, open for one command. No lock is needed: these are short writes, and a running service sees them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from app.accounts.workspaces import find_workspace, list_workspaces
from app.commands.reached import reached
from app.commands.worlds import DATABASE, chosen, tell
from app.core.errors import Problem
from app.core.ids import Ids
from app.feature import Feature
from app.services import Services
from app.settings import Settings, SettingsError, read_settings
from app.store.database import Database
from app.store.schema import check_schema
from app.wiring import FEATURES, database_of, services_of


@dataclass(frozen=True)
class Opened:
    settings: Settings
    db: Database
    ids: Ids

    async def the_workspace(self, said: str) -> str:
        """The id of the workspace that is meant by its id, or by its name where only one has that. Raises
        `SettingsError` when there is none, or more than one."""
        async with self.db.read() as session:
            if await find_workspace(session, said) is not None:
                return said
            named = [row.id for row in await list_workspaces(session) if row.name == said]
        if len(named) > 1:
            raise SettingsError(
                f"{len(named)} workspaces are called {said!r}; say which by its id: {', '.join(named)}."
            )
        if not named:
            raise SettingsError(f"There is no workspace {said!r}. `darkroom admin workspace list` shows all, by id.")
        return named[0]


@asynccontextmanager
async def opened(data: Path | None) -> AsyncIterator[Opened]:
    """Raises `SettingsError` when there is no database, or not the one this program knows."""
    settings = chosen(read_settings(data=data))
    tell(settings)
    if settings.database_url is None and not (settings.home / DATABASE).exists():
        raise SettingsError(
            f"There is no database in {settings.home}. Start there with `darkroom dev` or `darkroom migrate`, or say "
            "where it is: --data, DARKROOM_DATA, DARKROOM_DATABASE_URL."
        )
    db = database_of(settings)
    with reached(settings):
        await db.open()
        try:
            await check_schema(db)
            yield Opened(settings, db, Ids(lambda: datetime.now(UTC), secrets.token_bytes))
        except Problem as problem:
            raise SettingsError(problem.detail) from problem
        finally:
            await db.close()


@asynccontextmanager
async def opened_services(data: Path | None) -> AsyncIterator[tuple[Opened, Services, tuple[Feature, ...]]]:
    """All that the stages may touch, for a command that looks at it; nothing runs. Few of them ask fal, so there need
    be no key."""
    async with opened(data) as here:
        settings = here.settings
        if settings.fal_key is None and settings.fal_url is None:
            settings = settings.model_copy(update={"fal_key": SecretStr("none")})
        services = replace(services_of(settings, f"http://localhost:{settings.port}"), db=here.db)
        try:
            yield here, services, FEATURES
        finally:
            for port in (services.provider, services.vision, services.blobs, services.fetcher, services.darkroom):
                await port.close()
