"""Filters of the list of jobs: what they cannot mean is refused in words, never answered with an empty page."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.home import Home

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_role_finds_the_jobs_of_its_model(home: Home) -> None:
    job = await home.order()
    for name in ("text_to_image", "fal-ai/flux/schnell", "flux/schnell"):
        found = (await _listed(home, model=name)).json()["data"]
        assert job in [each["id"] for each in found], name
    assert (await _listed(home, model="upscale")).json()["data"] == []


async def test_a_model_that_is_not_there_is_refused_with_the_way_out(home: Home) -> None:
    answer = await _listed(home, model="flux/schnel")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-model")
    [fault] = answer.json()["errors"]
    assert fault["pointer"] == "/query/model"
    assert "Did you mean flux/schnell" in fault["detail"]
    assert "GET /api/v1/models" in fault["detail"]


@pytest.mark.parametrize("pair", ["a", ":a", ""])
async def test_metadata_without_a_key_and_a_value_is_refused_in_words(home: Home, pair: str) -> None:
    answer = await _listed(home, metadata=pair)
    assert answer.status_code == 422
    [fault] = answer.json()["errors"]
    assert fault["pointer"].startswith("/query/metadata")
    assert fault["detail"] == "Must be a key and its value with a colon between them, as order:17."


async def _listed(home: Home, **query: Any) -> httpx.Response:
    async with home.client() as web:
        return await web.get("/api/v1/jobs", params=query)
