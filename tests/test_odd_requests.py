"""Letters, numbers and times at the edge of what databases can hold, on both of them: refused or found missing, never
broken. About 60 s."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.running import Service, running, sandboxed, schema_of_its_own

HUGE = 10**30
FARTHEST = ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z")
JOB: dict[str, Any] = {"model": "fal-ai/flux/schnell", "input": {"prompt": "odd"}}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def web(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("odd")
    if request.param == "sqlite":
        with running(folder, speed=20) as service:
            yield from _client(service)
    else:
        with (
            schema_of_its_own() as database,
            sandboxed(folder) as sandbox,
            running(folder, database=database, sandbox=sandbox) as service,
        ):
            yield from _client(service)


def _client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as web:
        yield web
    assert "crash" not in service.text()


@pytest.mark.parametrize(
    "letters", ["%00", "a%00b", "%F4%8F%BF%BF", "%FF", "%ED%A0%80", "%0A", "..%2F..", "'--", "%25s"]
)
@pytest.mark.parametrize(
    "path",
    ["jobs/{}", "jobs/{}/attempts", "jobs/{}/stream", "runs/{}", "assets/{}", "assets/{}/content", "models/{}"],
)
def test_an_id_that_cannot_be_one_is_missing(web: httpx.Client, path: str, letters: str) -> None:
    assert web.get("/api/v1/" + path.format(letters)).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "jobs?run={}",
        "jobs?model={}",
        "jobs?text={}",
        "jobs?metadata=a:{}",
        "jobs?metadata={}:a",
        "assets?job={}",
        "credits/entries?owner={}",
        "deliveries?job={}",
        "events?job={}",
        "events?types={}",
        "jobs?cursor={}",
    ],
)
@pytest.mark.parametrize("letters", ["%00", "a%00", "%F4%8F%BF%BF", "%FF", "'%22", "%5C", "$.a", "%25"])
def test_a_filter_of_any_letters_finds_nothing_or_is_refused(web: httpx.Client, query: str, letters: str) -> None:
    answer = web.get("/api/v1/" + query.format(letters))

    assert answer.status_code in (200, 400, 422), answer.text
    assert answer.status_code != 200 or answer.json()["data"] == []


@pytest.mark.parametrize("moment", FARTHEST)
@pytest.mark.parametrize("list_", ["jobs", "assets"])
def test_times_far_away_are_times(web: httpx.Client, list_: str, moment: str) -> None:
    for name in ("created_after", "created_before"):
        assert web.get(f"/api/v1/{list_}", params={name: moment}).status_code == 200


@pytest.mark.parametrize("number", [2**63, HUGE])
def test_a_number_is_held_or_refused(web: httpx.Client, number: int) -> None:
    assert web.get("/api/v1/events", params={"after": number}).status_code == 422
    held = web.get("/api/v1/events", params={"after": 2**63 - 1})
    assert (held.status_code, "The newest event is number" in held.json()["detail"]) == (422, True)
    came_back = web.get("/api/v1/events", headers={"Last-Event-ID": str(number)})
    assert (came_back.status_code, "The newest event is number" in came_back.json()["detail"]) == (422, True)
    for body in ({"ceiling": number * 10**12, "jobs": [JOB]}, {"jobs": [{**JOB, "deadline_seconds": number}]}):
        assert web.post("/api/v1/runs", json=body).status_code == 422
    last = {"Accept": "text/event-stream", "Last-Event-ID": str(number)}
    with web.stream("GET", "/api/v1/events", headers=last) as stream:
        assert stream.status_code in (200, 422)


@pytest.mark.parametrize(
    "job",
    [
        {"metadata": {"a\0": "b"}},
        {"metadata": {"a": "b\0"}},
        {"input": {"prompt": "a\0"}},
        {"model": "\0"},
        {"reference_images": ["\0"]},
        {"input": {"prompt": "a", "seed": HUGE}},
        {"input": {"prompt": "a", "image_size": {"width": HUGE, "height": 1}}},
    ],
    ids=repr,
)
def test_a_job_that_could_not_be_kept_is_refused(web: httpx.Client, job: dict[str, Any]) -> None:
    assert web.post("/api/v1/jobs", json={**JOB, **job}).status_code == 422
    assert web.post("/api/v1/runs", json={"jobs": [{**JOB, **job}]}).status_code == 422


@pytest.mark.parametrize("prompt", ["\U0010ffff", "\\u0000", "\ufeff", "\u202e", "é" * 1000, "'; DROP TABLE jobs; --"])
def test_a_prompt_of_any_other_letters_is_kept_as_it_is(web: httpx.Client, prompt: str) -> None:
    job = web.post("/api/v1/jobs", json={**JOB, "input": {"prompt": prompt}, "metadata": {prompt[:64]: prompt[:500]}})

    assert job.status_code == 202, job.text
    kept = web.get(job.json()["urls"]["self"]).json()
    assert (kept["input"]["prompt"], kept["metadata"]) == (prompt, {prompt[:64]: prompt[:500]})


@pytest.mark.parametrize("moment", FARTHEST)
def test_a_job_may_wait_for_a_month_and_no_longer(web: httpx.Client, moment: str) -> None:
    job = web.post("/api/v1/jobs", json={**JOB, "not_before": moment, "deadline_seconds": 604_800})

    if moment < "2026":
        assert job.status_code == 202, job.text
        assert web.get(job.json()["urls"]["self"]).status_code == 200
    else:
        assert job.status_code == 422
        assert job.json()["errors"][0]["pointer"] == "/body/not_before"
    assert web.get("/api/v1/jobs").status_code == 200


def test_a_key_that_could_not_be_kept_is_refused(web: httpx.Client) -> None:
    assert web.post("/api/v1/keys", json={"name": "\0"}).status_code == 422
    for moment in FARTHEST:
        key = web.post("/api/v1/keys", json={"name": "far", "expires_at": moment})
        assert key.status_code == (201 if moment.startswith("9") else 422), key.text
    assert web.get("/api/v1/keys").status_code == 200
