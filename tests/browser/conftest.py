"""A browser in front of the real service and the real sandbox. Chromium is Debian's; DARKROOM_TEST_CHROMIUM names
another one."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, StorageState, sync_playwright

from app.accounts.page import signin_link
from app.core.ids import Ids
from app.wiring import database_of
from tests.browser.studio import Studio
from tests.running import WORKSPACE, Service, _now, running

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SPEED = 10


class OpenStudio(Protocol):
    def __call__(self, *, tolerated: tuple[str, ...] = (), **options: Any) -> Studio: ...


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("browser"), speed=SPEED) as service:
        yield service


@pytest.fixture(scope="session")
def links(service: Service) -> list[str]:
    """Sign-in links, each for one use. They are made before the browser starts: its loop would be in the way."""

    async def made() -> list[str]:
        assert service.settings
        db = database_of(service.settings)
        await db.open()
        try:
            ids = Ids(_now, os.urandom)
            return [await signin_link(db, ids, service.base_url, WORKSPACE) for _ in range(4)]
        finally:
            await db.close()

    return asyncio.run(made())


@pytest.fixture(scope="module")
def browser(links: list[str]) -> Iterator[Browser]:
    """Ended with each file, since tests with a loop of their own cannot run while its loop does."""
    chromium = os.environ.get("DARKROOM_TEST_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(chromium).exists():
        pytest.skip("there is no Chromium: apt-get install chromium, or set DARKROOM_TEST_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def session(browser: Browser, links: list[str]) -> StorageState:
    """The cookie of somebody who is signed in."""
    context = browser.new_context()
    context.new_page().goto(links.pop())
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_studio(service: Service, browser: Browser, session: StorageState) -> Iterator[OpenStudio]:
    """Opens the studio in a browser window of its own. Whatever the browser complained about fails the test."""
    opened: list[Studio] = []

    def open_(*, tolerated: tuple[str, ...] = (), **options: Any) -> Studio:
        context = browser.new_context(base_url=service.base_url, storage_state=session, **options)
        context.set_default_timeout(10_000)
        studio = Studio(context.new_page(), tolerated)
        opened.append(studio)
        return studio.open()

    yield open_
    for studio in opened:
        studio.page.context.close()
    assert [complaint for studio in opened for complaint in studio.complaints] == []


@pytest.fixture
def studio(open_studio: Callable[[], Studio]) -> Studio:
    return open_studio()
