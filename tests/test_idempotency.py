"""The same key and request, the same answer: fifty at once, and long after the world has changed (promise I3). HEAD and
ETag too: asking again for what one has. About 10 s."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from tests.home import ORDER, Home, home_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[[httpx.AsyncClient, str], Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with home_in(tmp_path_factory.mktemp("again")) as home:
        yield home


def picture(colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, "PNG")
    return out.getvalue()


def again(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def job(web: httpx.AsyncClient, key: str) -> Any:
    return web.post("/api/v1/jobs", json=ORDER, headers=again(key))


def run(web: httpx.AsyncClient, key: str) -> Any:
    return web.post("/api/v1/runs", json={"jobs": [ORDER, ORDER]}, headers=again(key))


def upload(web: httpx.AsyncClient, key: str) -> Any:
    return web.post("/api/v1/uploads", files={"files": ("a.png", picture())}, headers=again(key))


@pytest.mark.parametrize(("ask", "count"), [(job, 50), (run, 50), (upload, 12)], ids=["job", "run", "upload"])
async def test_many_at_once_are_one(home: Home, ask: Ask, count: int) -> None:
    before = {table: len(home.rows(f"SELECT 1 FROM {table}")) for table in ("jobs", "runs", "assets", "transfers")}
    async with home.client() as web:
        answers = await asyncio.gather(*(ask(web, f"at once {ask.__name__}") for _ in range(count)))

    assert {answer.status_code for answer in answers} <= {201, 202}
    assert len({str(_ids(answer.json())) for answer in answers}) == 1
    made = {table: len(home.rows(f"SELECT 1 FROM {table}")) - n for table, n in before.items()}
    expected: dict[Ask, dict[str, int]] = {
        job: {"jobs": 1, "runs": 0, "assets": 0, "transfers": 1},
        run: {"jobs": 2, "runs": 1, "assets": 0, "transfers": 2},
        upload: {"jobs": 0, "runs": 0, "assets": 1, "transfers": 0},
    }
    assert made == expected[ask]


def _ids(body: dict[str, Any]) -> Any:
    """What names the thing; addresses of pictures are signed anew each time."""
    return body.get("id") or [each["id"] for each in body["data"]]


@pytest.mark.parametrize("ask", [job, run, upload], ids=["job", "run", "upload"])
async def test_a_key_for_another_request_is_refused_and_changes_nothing(home: Home, ask: Ask) -> None:
    async with home.client() as web:
        assert (await ask(web, f"once {ask.__name__}")).status_code in (201, 202)
        before = home.tables()
        others = [
            await web.post(
                "/api/v1/jobs", json={**ORDER, "metadata": {"a": "b"}}, headers=again(f"once {ask.__name__}")
            ),
            await web.post(
                "/api/v1/uploads",
                files={"files": ("a.png", picture("red"))},
                headers=again(f"once {ask.__name__}"),
            ),
        ]

    assert [(answer.status_code, answer.json()["code"]) for answer in others] == [(422, "key-reused")] * 2
    assert home.tables() == before


async def test_the_answer_outlives_what_it_was_made_from(home: Home) -> None:
    """The picture it drew from is gone: a new request would be refused, the old answer stands."""
    async with home.client() as web:
        asset = (await upload(web, "a reference")).json()["data"][0]["id"]
        edit = {"model": "fal-ai/nano-banana/edit", "input": {"prompt": "a cat"}, "reference_images": [asset]}
        bodies: list[tuple[str, Any]] = [("jobs", edit), ("runs", {"jobs": [edit]})]
        for path, body in bodies:
            await web.post(f"/api/v1/{path}", json=body, headers=again(f"lasting {path}"))
        for made in (await web.get("/api/v1/jobs", params={"model": "fal-ai/nano-banana/edit"})).json()["data"]:
            await web.post(made["urls"]["cancel"])
        assert (await web.delete(f"/api/v1/assets/{asset}")).status_code == 204

        for path, body in bodies:
            assert (await web.post(f"/api/v1/{path}", json=body)).status_code == 422
            replayed = await web.post(f"/api/v1/{path}", json=body, headers=again(f"lasting {path}"))
            assert (replayed.status_code, replayed.headers.get("idempotent-replayed")) == (202, "true")
        replayed = await upload(web, "a reference")
        assert (replayed.status_code, replayed.json()["data"][0]["url"]) == (201, None)


async def test_a_retry_within_a_run_keeps_its_key(home: Home) -> None:
    async with home.client() as web:
        made = (await run(web, "to be retried")).json()
        first = made["jobs"][0]
        assert (await web.post(f"/api/v1/jobs/{first}/cancel")).status_code == 200
        asked = [web.post(f"/api/v1/jobs/{first}/retry", headers=again("retry")) for _ in range(10)]
        answers = [*await asyncio.gather(*asked), await web.post(f"/api/v1/jobs/{first}/retry", headers=again("retry"))]

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(home.rows("SELECT 1 FROM jobs WHERE retry_of = ?", first)) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a\tb"])
async def test_a_key_is_plain_text(home: Home, key: str) -> None:
    async with home.client() as web:
        answer = await web.post("/api/v1/jobs", json=ORDER, headers=[(b"Idempotency-Key", key.encode())])

    assert answer.status_code == 422


async def test_what_one_has_is_not_sent_again(home: Home) -> None:
    async with home.client() as web:
        asset = (await upload(web, "to look at")).json()["data"][0]
        for address in (f"/api/v1/assets/{asset['id']}/content", asset["url"], asset["thumbnail_url"]):
            whole = await web.get(address)
            head = await web.head(address)
            known = await web.get(address, headers={"If-None-Match": whole.headers["etag"]})
            other = await web.get(address, headers={"If-None-Match": '"another"'})
            part = await web.get(address, headers={"Range": "bytes=2-5"})
            beyond = await web.get(address, headers={"Range": "bytes=99999999-"})

            assert (whole.status_code, head.status_code, head.content) == (200, 200, b"")
            unlike = {"x-request-id", "date"}
            assert {k: v for k, v in head.headers.items() if k not in unlike} == {
                k: v for k, v in whole.headers.items() if k not in unlike
            }
            assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", whole.headers["etag"])
            assert (other.status_code, other.content) == (200, whole.content)
            assert (part.status_code, part.content) == (206, whole.content[2:6])
            assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole.content)}")
