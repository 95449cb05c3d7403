"""One service and one sandbox for all stories that need nothing special of them; each story has a workspace of its own.
When all are told, every promise that can be recomputed is."""

from collections.abc import Iterator

import pytest

from tests.inside import violations
from tests.running import Service, running
from tests.stories.desk import Desk

SPEED = 50


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("house"), speed=SPEED) as service:
        yield service
        assert service.settings
        assert violations(service.settings) == []
        assert "Traceback" not in service.text()


@pytest.fixture
def desk(house: Service) -> Iterator[Desk]:
    with Desk.open(house) as desk:
        yield desk
