"""A contract that contradicts itself is found on import."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from app.core.idempotency import IdempotencyKey
from app.core.principal import Principal, Scope
from app.web import streams
from app.web.operation import Operation, Redirect, Reply, Stream
from tests.web.tiny import OPERATIONS, Album, Cat


class Lenient(BaseModel):
    name: str


async def unknown_parameter(request: Any) -> None: ...


async def no_id() -> None: ...


async def numeric_id(pet: int) -> None: ...


async def no_return(services: Any): ...  # type: ignore[no-untyped-def]  # noqa: ANN201  # that is the point


async def bare_parameter(services) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001  # that is the point


async def both(body: Cat, form: Album) -> None: ...


async def lenient(body: Lenient) -> None: ...


async def list_query(query: list[str]) -> None: ...


async def takes_body(body: Cat) -> None: ...


async def bare_reply() -> Reply: ...  # type: ignore[type-arg,empty-body]


async def takes_key(idempotency: IdempotencyKey | None) -> None: ...


async def takes_id(pet: str) -> None: ...


def plain_function() -> None: ...


@pytest.mark.parametrize(
    ("handler", "path", "options", "complaint"),
    [
        (unknown_parameter, "/x", {}, "nothing fills the parameter request"),
        (no_id, "/pets/{pet}", {"resource": "pet"}, "names pet, which the handler does not take"),
        (numeric_id, "/pets/{pet}", {"resource": "pet"}, "what comes from the path is a str"),
        (no_return, "/x", {}, "does not say what it returns"),
        (bare_parameter, "/x", {}, "services has no annotation"),
        (both, "/x", {}, "a body or a form, not both"),
        (lenient, "/x", {}, 'needs extra="forbid"'),
        (list_query, "/x", {}, "one model"),
        (takes_body, "/x", {"method": "GET"}, "GET has no body"),
        (bare_reply, "/x", {}, "Reply of what"),
        (takes_key, "/x", {}, "come together"),
        (no_id, "/x", {"idempotent": True}, "come together"),
        (takes_id, "/pets/{pet}", {}, "needs `resource`"),
        (no_id, "/x", {"method": "FETCH"}, "the method is one of"),
        (plain_function, "/x", {}, "no coroutine function"),
    ],
)
def test_a_contradiction_is_refused(
    handler: Callable[..., Awaitable[Any]], path: str, options: dict[str, Any], complaint: str
) -> None:
    method = options.pop("method", "POST")

    with pytest.raises(TypeError, match=complaint):
        Operation(method, path, handler, **options)


async def varied(principal: Principal | None) -> Reply[Cat] | Redirect | Stream | None:
    """Do this.

    And that.
    """


def test_a_contract_says_what_may_come_back() -> None:
    operation = Operation("GET", "/x/y", varied)
    answer = operation.contract.answer

    assert answer.model is Cat
    assert answer.streams
    assert answer.empty
    assert Redirect in answer.kinds
    assert not operation.authenticated
    assert (operation.title, operation.description, operation.group) == ("Do this", "And that.", "x")


def test_nothing_to_say_is_204() -> None:
    assert Operation("POST", "/x", no_id).status == 204
    assert Operation("POST", "/x", no_id, 202).status == 202


def test_an_address_is_below_the_prefix_unless_absolute() -> None:
    by_id = {operation.id: operation for operation in OPERATIONS}

    assert by_id["create_pet"].address == "/api/v1/pets"
    assert by_id["health"].address == "/healthz"
    assert by_id["create_pet"].scope is Scope.JOBS_WRITE


def test_the_streams_of_the_house_are_answers() -> None:
    assert issubclass(streams.EventStream, Stream)
