"""The document is valid, complete, the same every time, and true: Schemathesis tries every operation against it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from pydantic import BaseModel
from schemathesis import CheckFunction, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection

from app.web.openapi import describe
from app.web.operation import Operation
from tests.web.tiny import ABOUT, EVENTS, KEY, OPERATIONS, tiny_app

TRIES = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe(OPERATIONS, about=ABOUT, events=EVENTS)


def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_it_is_the_same_in_any_order(document: dict[str, Any]) -> None:
    again = describe(tuple(reversed(OPERATIONS)), about=ABOUT, events=EVENTS)

    assert json.dumps(again) == json.dumps(document)


def test_every_operation_is_in_it_once(document: dict[str, Any]) -> None:
    found = {
        (method.upper(), path): described["operationId"]
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    }

    assert found == {(operation.method, operation.address): operation.id for operation in OPERATIONS}


def test_every_model_is_in_it_once_and_by_a_clean_name(document: dict[str, Any]) -> None:
    assert list(document["components"]["schemas"]) == [
        "Album",
        "AlbumView",
        "Cat",
        "Dog",
        "Event",
        "FieldError",
        "Owner",
        "PagePetView",
        "PetFed",
        "PetFedEvent",
        "PetGone",
        "PetGoneEvent",
        "PetView",
        "Problem",
    ]


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/api/v1/pets", "post", "201 400 401 403 408 409 413 415 422 429 500 503 507"),
        ("/api/v1/pets", "get", "200 400 401 403 422 429 500 503"),
        ("/api/v1/pets/{pet}", "delete", "204 400 401 403 404 422 429 500 503 507"),
        ("/api/v1/pets/{pet}/content", "get", "200 307 400 401 403 404 422 429 500 503"),
        ("/api/v1/pets/changes", "get", "200 400 401 403 406 422 429 500 503"),
        ("/api/v1/albums", "post", "201 400 401 403 408 413 415 422 429 500 503 507"),
        ("/api/v1/greeting", "get", "200 400 401 403 422 429 500 503"),
        ("/healthz", "get", "200 400 422 429 500 503"),
    ],
)
def test_what_can_happen_follows_from_the_contract(
    document: dict[str, Any], path: str, method: str, statuses: str
) -> None:
    assert list(document["paths"][path][method]["responses"]) == statuses.split()


def test_a_status_shows_each_of_its_problems(document: dict[str, Any]) -> None:
    conflict = document["paths"]["/api/v1/pets"]["post"]["responses"]["409"]
    media = conflict["content"]["application/problem+json"]

    assert media["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert list(media["examples"]) == ["house-full"]
    assert media["examples"]["house-full"]["value"]["title"] == "No more pets fit in"


def test_who_may_ask_is_said(document: dict[str, Any]) -> None:
    key: list[dict[str, list[str]]] = [{"key": []}, {"session": []}]
    paths = document["paths"]

    assert paths["/api/v1/pets"]["get"]["security"] == key
    assert paths["/api/v1/greeting"]["get"]["security"] == [*key, {}]
    assert paths["/healthz"]["get"]["security"] == []
    assert document["components"]["securitySchemes"]["session"]["name"] == "darkroom_session"


def test_a_stream_names_the_closed_union_of_its_events(document: dict[str, Any]) -> None:
    content = document["paths"]["/api/v1/pets/changes"]["get"]["responses"]["200"]["content"]
    event = document["components"]["schemas"]["Event"]

    assert content["text/event-stream"]["schema"]["contentSchema"] == {"$ref": "#/components/schemas/Event"}
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/PagePetView"}
    assert list(event["discriminator"]["mapping"]) == ["pet.fed", "pet.gone"]
    assert document["components"]["schemas"]["PetFedEvent"]["properties"]["type"]["const"] == "pet.fed"


def test_examples_and_words_come_from_the_code(document: dict[str, Any]) -> None:
    create = document["paths"]["/api/v1/pets"]["post"]
    limit = document["paths"]["/api/v1/pets"]["get"]["parameters"][0]

    assert (create["summary"], create["description"]) == ("Take in a pet", "It stays until it leaves.")
    assert create["requestBody"]["content"]["application/json"]["schema"]["discriminator"]["propertyName"] == "kind"
    assert [parameter["name"] for parameter in create["parameters"]] == ["Idempotency-Key", "Prefer"]
    assert (limit["name"], limit["description"], limit["schema"]["maximum"]) == ("limit", "How many at most.", 100)
    assert document["tags"][0] == {"name": "pets", "description": "Cats, mostly."}


def test_a_form_says_which_fields_are_files(document: dict[str, Any]) -> None:
    body = document["paths"]["/api/v1/albums"]["post"]["requestBody"]["content"]
    album = document["components"]["schemas"]["Album"]

    assert body == {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/Album"}}}
    assert album["properties"]["cover"] == {"title": "Cover", "type": "string", "format": "binary"}
    assert album["properties"]["files"]["items"] == {"type": "string", "format": "binary"}


async def get_twin(pet: str) -> None: ...


def test_two_operations_with_one_name_are_refused() -> None:
    twins = [Operation("GET", f"/{word}/{{pet}}", get_twin, resource="pet") for word in ("a", "b")]

    with pytest.raises(ValueError, match="same name: get_twin"):
        describe(twins, about=ABOUT)


class Problem(BaseModel):
    """Takes a name that is ours."""


async def get_problem() -> Problem:
    return Problem()


def test_a_model_with_one_of_our_names_is_refused() -> None:
    with pytest.raises(ValueError, match="names are taken: Problem"):
        describe([Operation("GET", "/problem", get_problem)], about=ABOUT)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_schemathesis_finds_no_lie(tmp_path: Path, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", tiny_app(tmp_path))
    tried: list[str] = []

    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @TRIES
        @given(case=operation.as_strategy(mode))
        def hold_to_its_word(case: schemathesis.Case[Any]) -> None:
            tried.append(case.operation.label)
            # Bytes that are not "binary" do not exist, yet it makes some up and wants them refused.
            pointless: list[CheckFunction] = []
            if case.media_type == "multipart/form-data":
                pointless = [negative_data_rejection]
            case.call_and_validate(headers=KEY, excluded_checks=pointless)

        with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be given something wrong
            hold_to_its_word()

    assert len(set(tried)) >= len(OPERATIONS) - 2
