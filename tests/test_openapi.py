"""The API's description as a promise: committed, valid, the same as what answers, and kept by the running service
whatever it is sent. About 80 s; `DARKROOM_FUZZ=300` tries that many requests per operation and kind instead."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import booleans
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from starlette.routing import Mount, Route, Router

from app.catalog.failures import FAILURES
from app.health import Health
from app.lifespan import Life
from app.main import application, document
from app.web.middleware import Shell
from app.web.operation import Operation
from app.web.table import Table
from app.wiring import FEATURES, PROBLEMS, Wired, wire
from tests.described import STREAMS, keys_for, needs_operator, pointless, schema_of
from tests.real_things import Things
from tests.running import ROOT, Service, running, settings_from

OPEN = {
    "list_models": "what can be bought may be known before one has a key",
    "get_model": "the same, one by one",
    "get_signed_file": "the address itself is the proof",
    "get_signin": "the ticket in the address is the proof",
    "test_stream": "whoever sets up a proxy has no key at hand, and it tells the time only",
    "healthz": "load balancers have no key",
    "readyz": "load balancers have no key",
    "version": "tells nothing of any workspace",
}
"""Operations that ask nobody for a key, and why."""
ANY_KEY = {"get_me": "a key may always ask what it is"}

NOT_DESCRIBED = {
    "POST /api/webhooks/fal/{attempt}/{tag}": "fal calls it, nobody else can",
    "GET /metrics": "speaks Prometheus' own language",
    "GET /openapi.json": "is the description",
    "GET /docs": "a page for people",
    "GET /docs/errors": "a page for people",
    "GET /docs/events": "a page for people",
    "GET /docs/assets": "files of those pages",
    "GET /": "a page for people",
    "GET /studio/snapshot": "what that page begins with; another version of it may want another",
    "GET /static": "files of that page",
    "GET /favicon.ico": "browsers ask for it",
}
"""What answers and is not in it, and why."""

TRIES = settings(
    max_examples=int(os.environ.get("DARKROOM_FUZZ", "14")),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def operations() -> list[Operation]:
    health = Health(cast("Wired", None), lambda: False)
    return [*(operation for feature in FEATURES for operation in feature.operations), *health.operations]


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("fuzz"), speed=50) as service:
        yield service


@pytest.fixture(scope="module")
def things(service: Service) -> Iterator[Things]:
    with Things.within(service) as things:
        yield things


def test_the_docs_open_with_the_jobs_and_every_heading_exists() -> None:
    names = [tag["name"] for tag in document()["tags"]]
    assert names[:5] == ["jobs", "runs", "models", "assets", "events"]
    assert all(tag.get("description") for tag in document()["tags"][:7])


def test_it_is_committed(described: dict[str, Any]) -> None:
    """If the change was meant to be: python -m app openapi > deploy/openapi.json"""
    assert json.loads((ROOT / "deploy" / "openapi.json").read_text()) == described


def test_it_is_valid(described: dict[str, Any]) -> None:
    validate(described)


def test_it_describes_what_answers_and_nothing_else(
    described: dict[str, Any], service: Service, tmp_path: Path
) -> None:
    said = {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}
    answered = _answered(tmp_path)

    assert NOT_DESCRIBED.keys() <= answered
    assert said == answered - NOT_DESCRIBED.keys()
    with service.client() as web:
        assert web.get("/openapi.json").json() == described
        for path, methods in described["paths"].items():
            allowed = web.request("TRACE", path.replace("{", "").replace("}", "")).headers["allow"].split(", ")
            assert {method.upper() for method in methods} == set(allowed) - {"HEAD"}


def test_every_operation_says_what_it_is_for(described: dict[str, Any]) -> None:
    for operation in operations():
        assert len(operation.title) > 5, operation.id
        assert operation.title != operation.id.replace("_", " ").capitalize(), f"{operation.id} has no summary"


def test_every_operation_asks_for_a_scope_or_has_a_reason_not_to() -> None:
    open_ = {operation.id for operation in operations() if not operation.authenticated}
    any_key = {operation.id for operation in operations() if operation.authenticated and operation.scope is None}

    assert (open_, any_key) == (set(OPEN), set(ANY_KEY))


def test_every_problem_is_explained(service: Service) -> None:
    """Its `type` leads there."""
    slugs = {kind.slug for kind in PROBLEMS}
    with service.client() as web:
        page = web.get("/docs/errors").text
    explained = re.findall(r'id="([a-z-]+)"', page)

    assert set(explained) >= slugs | set(FAILURES)
    assert len(explained) == len(set(explained))


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_no_request_gets_an_answer_it_does_not_describe(things: Things, mode: GenerationMode) -> None:
    """All of Schemathesis' checks: no 5xx, no status, type, header or body that is not described; what does not fit is
    refused and what fits is not; nothing works without a key. Of what fits, half is about things that are there, and
    every operation does what it is for at least once. What only streams is left out: the tool reads an answer to its
    end, and a stream has none (see below)."""
    service = things.desk.service
    keys = keys_for(service)
    schema = schema_of(service)
    tried: dict[str, int] = {}
    done: set[str] = set()
    lies: list[str] = []

    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.label in STREAMS:
            continue

        @TRIES
        @given(case=operation.as_strategy(mode), real=booleans())
        def hold_to_its_word(case: schemathesis.Case[Any], *, real: bool) -> None:
            tried[case.operation.label] = tried.get(case.operation.label, 0) + 1
            case.headers.pop("Prefer", None)  # it would wait for the end of jobs
            if mode is GenerationMode.POSITIVE:
                case.query.pop("cursor", None)  # it is signed, so none can be made up
                if real:
                    things.put_into(case)
            headers = keys[needs_operator(case)]
            answer = case.call_and_validate(headers=headers, excluded_checks=pointless(case), timeout=30)
            if answer.status_code < 400:
                done.add(case.operation.label)

        with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be given something wrong
            try:
                hold_to_its_word()
            except FailureGroup as broken:
                lies += [f"{operation.label}: {failure.title}: {failure.message}" for failure in broken.exceptions]

    assert lies == []
    print(f"{mode}: {sum(tried.values())} requests to {len(tried)} operations")
    assert len(tried) >= len(operations()) - (4 if mode is GenerationMode.POSITIVE else 12)
    if mode is GenerationMode.POSITIVE:
        assert tried.keys() - done == set()
    assert "crash" not in service.text()


@pytest.mark.parametrize("label", sorted(STREAMS | {"GET /api/v1/events"}))
def test_the_head_of_a_stream_is_as_described(described: dict[str, Any], things: Things, label: str) -> None:
    path = label.removeprefix("GET ")
    said = described["paths"][path]["get"]["responses"]
    client, streaming = things.desk.client, {"Accept": "text/event-stream"}
    here, nowhere = path.format_map(things.lasting), path.format(job="job_x", run="run_x")

    with client.stream("GET", here, headers=streaming) as stream:
        assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert "text/event-stream" in said["200"]["content"]
        assert stream.headers["cache-control"].startswith("no-")
    if "401" in said:
        assert client.get(here, headers={**streaming, "Authorization": "Bearer no"}).status_code == 401
    if "404" in said:
        assert client.get(nowhere, headers=streaming).status_code == 404
    if "{job}" in path:  # it is over, and this reader has heard the end
        heard = {**streaming, "Last-Event-ID": str(things.desk.job(things.lasting["job"])["seq"])}
        assert (client.get(here, headers=heard).status_code, "204" in said) == (204, True)


def _answered(folder: Path) -> set[str]:
    """Every method and path of the application as it is served, read off what finds them."""
    wired = wire(settings_from({"DARKROOM_DATA": str(folder), "DARKROOM_FAL_URL": "http://127.0.0.1:9"}), "http://here")
    shell = application(Life(wired, works=False))
    assert isinstance(shell, Shell)
    table = shell._app
    assert isinstance(table, Table)
    pages = table._otherwise
    assert isinstance(pages, Router)
    found = {f"{method} {path}" for path, each in table.addresses.items() for method in each.methods}
    for route in pages.routes:
        assert isinstance(route, Route | Mount)
        found |= {f"{method} {route.path}" for method in (route.methods or () if isinstance(route, Route) else ["GET"])}
    heads = {each for each in found if each.startswith("HEAD ") and each.replace("HEAD", "GET", 1) in found}
    return {each.replace(":path}", "}") for each in found - heads}
