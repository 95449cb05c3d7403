"""One house for all tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.home import Home, home_in


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with home_in(tmp_path_factory.mktemp("home")) as home:
        yield home


@pytest.fixture(autouse=True)
def _a_minute_later(request: pytest.FixtureRequest) -> None:
    """Refusals and looks for keys are held back for a minute; tests are quicker."""
    if "home" in request.fixturenames:
        standing = request.getfixturevalue("home").services.standing
        standing.refusals.clear()
        standing.keys_asked_at = None
