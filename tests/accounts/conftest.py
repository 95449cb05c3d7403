"""The real app in this process, on a real database, with a client that needs no network."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest_asyncio

from app.accounts.development import DEVELOPMENT
from app.accounts.page import signin_link
from app.commands.playground import open_playground
from app.lifespan import Life
from app.main import application
from app.services import Services
from app.store.schema import upgrade
from app.wiring import wire
from tests.running import SECRET, settings_from

BASE = "http://localhost:8000"


@dataclass
class Door:
    """The app, and the key of the development workspace."""

    life: Life
    key: str
    http: httpx.AsyncClient

    @property
    def services(self) -> Services:
        return self.life.wired.services

    def showing(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    async def ask(self, key: str) -> int:
        return (await self.http.get("/api/v1/me", headers=self.showing(key))).status_code

    async def link(self) -> str:
        return await signin_link(self.services.db, self.services.ids, BASE, DEVELOPMENT)


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    settings = settings_from(
        {"DARKROOM_DATA": str(tmp_path), "DARKROOM_FAL_URL": "http://127.0.0.1:9", "DARKROOM_SECRET": SECRET}
    )
    settings.home.mkdir(parents=True)
    upgrade(settings.database)
    async with Life(wire(settings, BASE), works=False) as life:
        key = await open_playground(life.wired.services.db, life.wired.services.ids, settings)
        transport = httpx.ASGITransport(application(life))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
            yield Door(life, key, http)
