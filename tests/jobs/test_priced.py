"""A price that goes by the size of the picture given knows that size where we hold the picture."""

from __future__ import annotations

import json

import pytest

from tests.assets.pictures import raw_png
from tests.home import Home

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_by_the_pictures_own_size_or_else_the_usual_one(home: Home) -> None:
    async with home.client() as web:
        sent = await web.post("/api/v1/uploads", files={"files": ("wide.png", raw_png(2048, 1024))})
        wide = sent.json()["data"][0]["id"]
        booked = {}
        for reference in (wide, "https://example.com/of-unknown-size.png"):
            wish = {"model": "fal-ai/clarity-upscaler", "input": {"upscale_factor": 2}, "reference_images": [reference]}
            job = (await web.post("/api/v1/jobs", json=wish)).json()["id"]
            booked[reference] = json.loads(home.job(job)["price"])["micro_usd"]
    assert list(booked.values()) == [8 * 30_000, 4 * 30_000]
