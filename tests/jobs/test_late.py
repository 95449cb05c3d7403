"""A result that comes when its job is over is still asked what it has cost, for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.jobs.ingest import _long_over
from app.rules import Rules

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OVER = NOW - timedelta(hours=1)


class Stopped:
    def now(self) -> datetime:
        return NOW

    def after(self, seconds: float) -> datetime:
        return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("finished_at", "heard_at", "enough"),
    [
        (None, OVER, False),
        (OVER, OVER, True),
        (OVER, NOW - timedelta(minutes=1), False),  # the job is long over, but this we have only just heard
        (NOW - timedelta(minutes=1), OVER, False),
    ],
)
def test_patience_begins_with_what_came_last(finished_at: datetime | None, heard_at: datetime, enough: bool) -> None:
    services: Any = SimpleNamespace(clock=Stopped(), rules=Rules())
    reading = SimpleNamespace(
        job=SimpleNamespace(finished_at=finished_at), delivery=SimpleNamespace(received_at=heard_at)
    )
    assert _long_over(services, cast("Any", reading)) is enough
