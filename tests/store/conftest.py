"""An empty database, once on each engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.databases import DATABASES, Shelf, opened, place_for


@pytest.fixture(params=DATABASES)
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    with place_for(request.param, tmp_path) as url:
        async with opened(url) as shelf:
            yield shelf
