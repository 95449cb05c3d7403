"""What a failed job says of itself is a problem like any other, and the API's description says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from app.catalog.failures import Code
from app.jobs.endings import problem_of
from app.jobs.view import JobError
from app.main import document
from app.web.schemas import PROBLEM
from tests.home import home_in


def test_it_is_described_as_a_problem() -> None:
    schemas = document()["components"]["schemas"]

    assert schemas["JobView"]["properties"]["error"]["anyOf"][0] == {"$ref": "#/components/schemas/JobError"}
    assert set(PROBLEM["required"]) <= set(schemas["JobError"]["required"])
    for name in PROBLEM["required"]:
        assert schemas["JobError"]["properties"][name]["type"] == PROBLEM["properties"][name]["type"]


@pytest.mark.parametrize("code", Code)
def test_each_failure_has_the_status_of_an_error(code: Code) -> None:
    assert 400 <= JobError(**problem_of(code, "")).status < 600


async def test_one_of_before_the_status_was_kept_has_it_too(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home, home.client() as web:
        job = await home.order()
        await web.post(f"/api/v1/jobs/{job}/cancel")
        old = "UPDATE jobs SET error = json_remove(error, '$.status')"
        await home.services.db.write(lambda tx: tx.execute(text(old)))

        assert (await web.get(f"/api/v1/jobs/{job}")).json()["error"]["status"] == 409


async def test_one_that_only_the_next_version_knows_is_shown_as_well(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home, home.client() as web:
        job = await home.order()
        await web.post(f"/api/v1/jobs/{job}/cancel")
        newer = "UPDATE jobs SET error = json_remove(json_set(error, '$.code', 'moon-is-full'), '$.status')"
        await home.services.db.write(lambda tx: tx.execute(text(newer)))

        error = (await web.get(f"/api/v1/jobs/{job}")).json()["error"]
        assert (error["code"], error["status"]) == ("moon-is-full", 500)
