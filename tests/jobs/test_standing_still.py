"""A process that stands still between its intention and its POST does not send what another may have sent since."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.jobs.dispatch import _intend
from tests.home import Home, home_in


async def test_it_sends_what_it_has_just_decided_to_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home_in(tmp_path) as home:
        job = await _sent_after(home, monkeypatch, seconds=home.services.rules.grace_least / 2 - 10)
        assert home.job(job)["status"] == "submitted"
        assert len(home.fal.webhooks) == 1


async def test_it_does_not_send_what_it_decided_long_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home_in(tmp_path) as home:
        job = await _sent_after(home, monkeypatch, seconds=home.services.rules.grace_least / 2 + 10)
        assert home.job(job)["status"] == "submitting"
        assert home.fal.webhooks == {}


async def _sent_after(home: Home, monkeypatch: pytest.MonkeyPatch, seconds: float) -> str:
    """A job that was dispatched by a process that stood still for so long after writing down the intention."""

    def intend_and_stand_still(tx: Any, sending: Any) -> bool:
        intended = _intend(tx, sending)
        sending.attempt.created_at -= timedelta(seconds=seconds)
        return intended

    monkeypatch.setattr(sys.modules["app.jobs.dispatch"], "_intend", intend_and_stand_still)
    job = await home.order()
    async with home.working():
        pass
    return job
