"""Every way a body or a query can be wrong has its status, its place and a word of help, and nothing is repeated."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.web.tiny import KEY, SECRET

JSON = KEY | {"Content-Type": "application/json"}
GOOD = b'{"kind":"cat","name":"Tom"}'


def places(response: httpx.Response) -> list[tuple[str, str]]:
    return [(error["pointer"], error["code"]) for error in response.json().get("errors", ())]


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b"", 400, [("/body", "missing")]),
        (b"[]", 422, [("/body", "dict-type")]),
        (b"null", 422, [("/body", "dict-type")]),
        (b"0", 422, [("/body", "dict-type")]),
        (b"{", 400, [("/body", "json-invalid")]),
        (b'{"kind":"cat","name":"Tom"} x', 400, [("/body", "json-invalid")]),
        (b'\xef\xbb\xbf{"kind":"cat","name":"Tom"}', 400, [("/body", "json-invalid")]),
        (b'{"kind":"cat","name":"\xff"}', 400, [("/body", "encoding")]),
        ('{"kind":"cat","name":"Tom"}'.encode("utf-16"), 400, [("/body", "encoding")]),
        (b'{"kind":"cat","name":"\\ud800"}', 400, [("/body", "json-invalid")]),
        (b'{"kind":"cat","name":"Tom","lives":NaN}', 400, [("/body", "number")]),
        (b'{"kind":"cat","name":"Tom","lives":-Infinity}', 400, [("/body", "number")]),
        (b'{"kind":"cat","name":"Tom","lives":' + b"9" * 5000 + b"}", 400, [("/body", "number")]),
        (b"[" * 10_000, 400, [("/body", "depth")]),
        (b'{"a":' * 33 + b"1" + b"}" * 33, 400, [("/body", "depth")]),
        (b'{"kind":"cat","kind":"dog"}', 400, [("/body/kind", "duplicate")]),
        (b'{"kind":"dog","owner":{"phone":"1","phone":"2"}}', 400, [("/body/owner/phone", "duplicate")]),
        (b'{"kind":"dog","tricks":[{"a/b~":1,"\\u0061/b~":2}]}', 400, [("/body/tricks/0/a~1b~0", "duplicate")]),
        (b'{"name":"Tom"}', 422, [("/body", "union-tag-not-found")]),
        (b'{"kind":"cow"}', 422, [("/body", "union-tag-invalid")]),
        (b'{"kind":"cat"}', 422, [("/body/name", "missing")]),
        (b'{"kind":"cat","name":""}', 422, [("/body/name", "string-too-short")]),
        (b'{"kind":"cat","name":7}', 422, [("/body/name", "string-type")]),
        (b'{"kind":"cat","name":"Tom","lives":"9"}', 422, [("/body/lives", "int-type")]),
        (b'{"kind":"cat","name":"Tom","lives":true}', 422, [("/body/lives", "int-type")]),
        (b'{"kind":"cat","name":"Tom","nope":1}', 422, [("/body/nope", "extra-forbidden")]),
        (b'{"kind":"dog","tricks":["a",2]}', 422, [("/body/tricks/1", "string-type")]),
        (b'{"kind":"dog","owner":{"phone":"x"}}', 422, [("/body/owner/phone", "string-pattern-mismatch")]),
        (b'{"kind":"dog","owner":{}}', 422, [("/body/owner/phone", "missing")]),
    ],
)
async def test_a_wrong_body_is_named_by_its_place(
    http: httpx.AsyncClient, body: bytes, status: int, expected: list[tuple[str, str]]
) -> None:
    response = await http.post("/api/v1/pets", headers=JSON, content=body)

    assert (response.status_code, places(response)) == (status, expected)
    assert response.headers["content-type"] == "application/problem+json"
    assert all(error["detail"].endswith((".", "!")) for error in response.json()["errors"])


async def test_to_json_two_point_zero_is_an_integer(http: httpx.AsyncClient) -> None:
    for lives, status in ((b"2.0", 201), (b"2e0", 201), (b"2.5", 422), (b"1e400", 422)):
        body = b'{"kind":"cat","name":"Tom","lives":' + lives + b"}"

        assert (await http.post("/api/v1/pets", headers=JSON, content=body)).status_code == status


async def test_what_was_sent_is_never_repeated(http: httpx.AsyncClient) -> None:
    body = {"kind": "dog", "owner": {"phone": SECRET}, "tricks": [SECRET] * 9}

    response = await http.post("/api/v1/pets", headers=KEY, json=body)

    assert response.status_code == 422
    assert SECRET not in response.text


async def test_a_union_tag_is_not_repeated_either(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/pets", headers=KEY, json={"kind": SECRET})

    assert SECRET not in response.text
    assert "'cat', 'dog'" in response.text


@pytest.mark.parametrize("brackets", [b"[" * 1_000_000, b"[" * 500_000 + b"]" * 500_000, b'{"a":' * 200_000])
async def test_a_tower_of_brackets_is_refused_without_climbing_it(brackets: bytes) -> None:
    from app.core.errors import Malformed
    from app.web.guards import Limits
    from app.web.parsing import parse_json
    from tests.web.tiny import OPERATIONS

    part = OPERATIONS[0].contract.body
    assert part is not None
    with pytest.raises(Malformed, match="32 levels"):
        parse_json(part, {b"content-type": b"application/json"}, brackets, Limits())


async def test_depth_counts_levels_and_not_brackets(http: httpx.AsyncClient) -> None:
    body = b'{"kind":"cat","name":"' + b"[" * 30 + b'\\"{{{","x":[' + b"[[],{}]," * 20 + b"[]]}"

    response = await http.post("/api/v1/pets", headers=JSON, content=body)

    assert places(response) == [("/body/x", "extra-forbidden")]


async def test_an_unclosed_string_full_of_escapes_takes_no_time(http: httpx.AsyncClient) -> None:
    body = b"[" * 40 + b'"' + b'\\"' * 9_000

    response = await http.post("/api/v1/pets", headers=JSON, content=body)

    assert places(response) == [("/body", "depth")]
    assert response.elapsed.total_seconds() < 1


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ('Application/JSON;charset="UTF-8"', 201),
        ("application/json; charset=latin-1", 415),
        ("application/json, text/plain", 415),
        ("application/problem+json", 415),
        ("text/plain", 415),
        ("", 415),
    ],
)
async def test_only_labelled_json_is_taken(http: httpx.AsyncClient, content_type: str, status: int) -> None:
    response = await http.post("/api/v1/pets", headers=KEY | {"Content-Type": content_type}, content=GOOD)

    assert response.status_code == status


async def test_a_compressed_body_is_not_taken(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/pets", headers=JSON | {"Content-Encoding": "gzip"}, content=GOOD)

    assert response.status_code == 415


async def test_a_long_body_is_refused_by_its_length_and_by_its_bytes(http: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1000

    announced = await http.post("/api/v1/pets", headers=JSON, content=b" " * 20_001)
    chunked = await http.post("/api/v1/pets", headers=JSON, content=endless())

    assert (announced.status_code, chunked.status_code) == (413, 413)
    assert announced.json()["code"] == chunked.json()["code"] == "too-large"
    assert announced.headers["connection"] == "close"


async def test_a_body_may_be_left_out_where_it_is_optional(http: httpx.AsyncClient) -> None:
    without = await http.patch("/api/v1/pets/1", headers=KEY)
    given = await http.patch("/api/v1/pets/1", headers=JSON, content=GOOD)
    wrong = await http.patch("/api/v1/pets/1", headers=JSON, content=b"[]")

    assert without.json()["name"] == "unchanged"
    assert given.json()["name"] == "Tom"
    assert wrong.status_code == 422


@pytest.mark.parametrize(
    ("query", "status", "expected"),
    [
        ("", 200, []),
        ("limit=100&order=old", 200, []),
        ("name=a&name=b", 200, []),
        ("limit=101", 422, [("/query/limit", "less-than-equal")]),
        ("limit=x", 422, [("/query/limit", "int-parsing")]),
        ("limit=", 422, [("/query/limit", "int-parsing")]),
        ("limit", 422, [("/query/limit", "int-parsing")]),
        ("order=up", 422, [("/query/order", "literal-error")]),
        ("limit=1&limit=2", 422, [("/query/limit", "repeated")]),
        ("nope=1", 422, [("/query/nope", "unknown")]),
        ("a%2Fb=1&c=2", 422, [("/query/a~1b", "unknown"), ("/query/c", "unknown")]),
        ("name=%ff", 400, []),
        ("&".join(["name=x"] * 201), 400, []),
        ("name=" + "x" * 8_000, 400, []),
    ],
)
async def test_a_query_is_as_strict_as_a_body(
    http: httpx.AsyncClient, query: str, status: int, expected: list[tuple[str, str]]
) -> None:
    response = await http.get(f"/api/v1/pets?{query}", headers=KEY)

    assert (response.status_code, places(response)) == (status, expected)


async def test_lists_in_a_query_keep_their_order(http: httpx.AsyncClient) -> None:
    response = await http.get("/api/v1/pets?name=b&name=a&name=%C3%B6", headers=KEY)

    assert [pet["name"] for pet in response.json()["data"]] == ["b", "a", "ö"]


async def test_a_query_where_none_is_taken_is_refused(http: httpx.AsyncClient) -> None:
    response = await http.get("/api/v1/pets/1?verbose=1", headers=KEY)

    assert places(response) == [("/query/verbose", "unknown")]
