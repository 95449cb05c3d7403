"""The line in the log about a request says whose it was and what it made."""

from __future__ import annotations

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from app.accounts.development import DEVELOPMENT
from tests.home import ORDER, Home

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_request_is_told_with_its_workspace_and_its_job(home: Home) -> None:
    with capture_logs([merge_contextvars]) as lines:
        job = await home.order()
        async with home.client() as web:
            run = (await web.post("/api/v1/runs", json={"jobs": [ORDER]})).json()["id"]
            await web.get("/api/v1/jobs")
            await web.get("/healthz")
    told = [line for line in lines if line["event"] == "request"]
    assert [(line.get("workspace"), line.get("job"), line.get("run")) for line in told] == [
        (DEVELOPMENT, job, None),
        (DEVELOPMENT, None, run),
        (DEVELOPMENT, None, None),
        (None, None, None),
    ]
