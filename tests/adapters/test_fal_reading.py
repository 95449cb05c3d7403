"""What fal's answers are taken to mean. respx plays fal's own hosts, whatever our sandbox thinks of them."""

import base64
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx

from app.adapters.fal import FalProvider
from app.adapters.fal_wire import Waits
from app.core.errors import Unavailable
from app.ports import Answer, Progress, Ticket

ENDPOINT = "fal-ai/nano-banana/edit"
BASE = "https://queue.fal.run/fal-ai/nano-banana/requests/abc"
ID = {"x-fal-request-id": "abc"}
LIST = "https://api.fal.ai/v1/models/requests/by-endpoint"
KEYS = "https://rest.fal.ai/.well-known/jwks.json"
OLD_KEYS = "https://rest.alpha.fal.ai/.well-known/jwks.json"
NGINX = "<html><center>nginx</center></html>"


@pytest.fixture
async def provider() -> AsyncIterator[FalProvider]:
    made = FalProvider("key-id:key-secret", waits=Waits(connect=1, submit=1, read=1, upload=1))
    yield made
    await made.close()


@pytest.fixture
def ticket(provider: FalProvider) -> Ticket:
    return provider.ticket(ENDPOINT, "abc")


def test_a_ticket_has_the_root_of_the_app_only(ticket: Ticket) -> None:
    assert ticket == Ticket(ENDPOINT, "abc", f"{BASE}/status", BASE, f"{BASE}/cancel")


def test_an_id_cannot_lead_a_ticket_elsewhere(provider: FalProvider) -> None:
    assert provider.ticket(ENDPOINT, "../../x?y#z").status_url.endswith("/requests/..%2F..%2Fx%3Fy%23z/status")


# --- progress ---


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (202, {"status": "IN_QUEUE", "queue_position": 12}, "queued"),
        (202, {"status": "IN_QUEUE"}, "queued"),
        (202, {"status": "IN_QUEUE", "queue_position": "soon"}, "queued"),
        (202, {"status": "IN_PROGRESS"}, "running"),
        (202, {"status": "IN_PROGRESS", "logs": None}, "running"),
        (202, {"status": "IN_PROGRESS", "logs": "text"}, "running"),
        (200, {"status": "COMPLETED"}, "done"),
        (200, {"status": "COMPLETED", "error": "Invalid status code: 422"}, "done"),
        (404, {"status": "NOT_FOUND"}, "missing"),
        (404, {"detail": "Request not found"}, "missing"),
        (200, {"status": "PAUSED"}, "unclear"),
        (200, {"status": ["COMPLETED"]}, "unclear"),
        (200, {}, "unclear"),
        (200, [], "unclear"),
        (405, {"detail": "Method Not Allowed"}, "unclear"),
        (401, {"detail": "No user found"}, "unclear"),
        (403, {"status": "COMPLETED"}, "unclear"),
        (500, {"status": "COMPLETED"}, "unclear"),
        (404, NGINX, "unclear"),
        (502, NGINX, "unclear"),
        (200, "cut {", "unclear"),
        (302, "", "unclear"),
    ],
)
async def test_each_status_has_one_meaning(
    provider: FalProvider, ticket: Ticket, status: int, body: Any, state: str
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    with respx.mock:
        asked = respx.get(f"{BASE}/status").respond(status, text=text)

        assert (await provider.progress(ticket)).state == state
        assert asked.calls.last.request.url.query == b"logs=false"
        assert asked.calls.last.request.headers["authorization"] == "Key key-id:key-secret"


async def test_position_logs_and_error_come_along(provider: FalProvider, ticket: Ticket) -> None:
    logs = [{"message": "10%", "timestamp": "x"}, {"message": "x" * 9000}, "odd", {}]
    with respx.mock:
        asked = respx.get(f"{BASE}/status")
        asked.respond(202, json={"status": "IN_QUEUE", "queue_position": 12})
        assert await provider.progress(ticket) == Progress("queued", position=12)
        asked.respond(200, json={"status": "COMPLETED", "logs": logs, "error": "boom"})
        assert await provider.progress(ticket, logs=True) == Progress("done", None, ("10%", "x" * 500, ""), "boom")
        assert asked.calls.last.request.url.query == b"logs=true"


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
async def test_who_does_not_answer_is_unclear(
    provider: FalProvider, ticket: Ticket, failure: type[httpx.TransportError]
) -> None:
    with respx.mock:
        respx.route().mock(side_effect=failure)

        assert (await provider.progress(ticket)).state == "unclear"
        assert (await provider.result(ticket)).status == 0
        assert await provider.cancel(ticket) == "unclear"


async def test_our_key_does_not_follow_a_ticket_that_leads_elsewhere(provider: FalProvider) -> None:
    astray = Ticket(ENDPOINT, "abc", "https://evil.example/s", "https://evil.example/r", "https://evil.example/c")
    with respx.mock(assert_all_called=False) as fal:
        evil = fal.route(host="evil.example").respond(200, json={"status": "COMPLETED"})

        assert (await provider.progress(astray)).state == "unclear"
        assert (await provider.result(astray)).status == 0
        assert await provider.cancel(astray) == "unclear"
        assert not evil.called


# --- result ---

_POLICY = {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation", "url": "x"}]}


@pytest.mark.parametrize(
    ("status", "headers", "body", "answer"),
    [
        (200, ID, {"images": []}, Answer(200, {"images": []})),
        (200, {}, {"images": []}, Answer(200, {"images": []})),
        (200, ID | {"X-Fal-Billable-Units": "1.5"}, {}, Answer(200, {}, billable_units=1.5)),
        (200, ID | {"X-Fal-Billable-Units": "2"}, {}, Answer(200, {}, billable_units=2.0)),
        (200, ID | {"X-Fal-Billable-Units": "many"}, {}, Answer(200, {})),
        (200, ID | {"X-Fal-Billable-Units": "nan"}, {}, Answer(200, {})),
        (422, ID, _POLICY, Answer(422, _POLICY, error_type="content_policy_violation")),
        (422, {}, _POLICY, Answer(422, _POLICY, error_type="content_policy_violation")),
        (
            500,
            ID | {"X-Fal-Retryable": "true"},
            {"detail": "x"},
            Answer(500, {"detail": "x"}, retryable=True),
        ),
        (500, ID | {"x-fal-needs-retry": "1"}, {"detail": "x"}, Answer(500, {"detail": "x"}, retryable=True)),
        (500, ID | {"X-Fal-Needs-Retry": "0"}, {"detail": "x"}, Answer(500, {"detail": "x"}, retryable=False)),
        (500, ID | {"X-Fal-Retryable": "perhaps"}, {}, Answer(500, {})),
        (
            503,
            ID | {"X-Fal-Error-Type": "runner_disconnected"},
            {"detail": "gone"},
            Answer(503, {"detail": "gone"}, error_type="runner_disconnected"),
        ),
        (
            504,
            ID,
            {"detail": "late", "error_type": "request_timeout"},
            Answer(504, {"detail": "late", "error_type": "request_timeout"}, error_type="request_timeout"),
        ),
        (400, ID, {"detail": "Request is still in progress"}, Answer(400, {"detail": "Request is still in progress"})),
        (404, {}, {"status": "NOT_FOUND"}, Answer(404, {"status": "NOT_FOUND"})),
        (200, ID, None, Answer(200, None)),
    ],
)
async def test_the_models_own_answer_is_given_as_it_is(
    provider: FalProvider, ticket: Ticket, status: int, headers: dict[str, str], body: Any, answer: Answer
) -> None:
    with respx.mock:
        respx.get(BASE).respond(status, headers=headers, text=json.dumps(body))

        assert await provider.result(ticket) == answer


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        (200, ID, '{"images": ['),
        (200, ID, ""),
        (200, {}, NGINX),
        (502, {}, NGINX),
        (503, {}, '{"detail": "somebody between"}'),
        (500, ID, NGINX),
        (401, {}, '{"detail": "No user found"}'),
        (403, {}, '{"detail": "User is locked"}'),
        (429, {}, '{"detail": "slow down"}'),
        (302, ID, "{}"),
    ],
)
async def test_what_is_not_the_models_own_answer_says_nothing_of_it(
    provider: FalProvider, ticket: Ticket, status: int, headers: dict[str, str], text: str
) -> None:
    with respx.mock:
        respx.get(BASE).respond(status, headers=headers, text=text)

        answer = await provider.result(ticket)

    assert answer.status == 0
    assert str(status) in answer.body


async def test_a_seed_beyond_64_bits_stays_whole(provider: FalProvider, ticket: Ticket) -> None:
    with respx.mock:
        respx.get(BASE).respond(200, headers=ID, text='{"seed": 17454220438242315174}')

        assert (await provider.result(ticket)).body["seed"] == 17454220438242315174


async def test_what_is_packed_is_no_answer(provider: FalProvider, ticket: Ticket) -> None:
    with respx.mock:
        route = respx.get(BASE).respond(200, headers=ID | {"Content-Encoding": "gzip"}, content=gzip.compress(b"{}"))

        assert await provider.result(ticket) == Answer(0, "The answer is packed, which was not asked for.")
        assert route.calls.last.request.headers["accept-encoding"] == "identity"


# --- cancel ---


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, {"status": "OK"}, "accepted"),
        (202, {"status": "CANCELLATION_REQUESTED"}, "accepted"),
        (200, {"success": True}, "accepted"),
        (204, "", "accepted"),
        (400, {"status": "ALREADY_COMPLETED"}, "too_late"),
        (200, {"status": "ALREADY_COMPLETED"}, "too_late"),
        (404, {"status": "NOT_FOUND"}, "unclear"),
        (200, {"status": "NOT_FOUND"}, "unclear"),
        (400, {"detail": "?"}, "unclear"),
        (401, {}, "unclear"),
        (502, NGINX, "unclear"),
    ],
)
async def test_each_answer_to_a_cancel_has_one_meaning(
    provider: FalProvider, ticket: Ticket, status: int, body: Any, meaning: str
) -> None:
    with respx.mock:
        respx.put(f"{BASE}/cancel").respond(status, text=body if isinstance(body, str) else json.dumps(body))

        assert await provider.cancel(ticket) == meaning


# --- the list ---

SINCE = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
UNTIL = SINCE + timedelta(minutes=5)


def _item(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": f"r{number}",
        "endpoint_id": ENDPOINT,
        "sent_at": "2026-11-20T10:00:01.5Z",
        "ended_at": None,
        "status_code": None,
        "json_input": {"prompt": "x"},
        "json_output": None,
    } | changes


async def test_the_list_is_read_page_by_page(provider: FalProvider) -> None:
    pages = [
        {"items": [_item(1), _item(2, status_code=200, ended_at="2026-11-20T10:00:09Z")], "next_cursor": "c1"},
        {"items": [_item(3)], "next_cursor": None, "has_more": False},
    ]
    with respx.mock:
        asked = respx.get(LIST).mock(side_effect=[httpx.Response(200, json=page) for page in pages])

        found = await provider.listed(ENDPOINT, SINCE, UNTIL)

    assert found is not None
    assert [each.request_id for each in found] == ["r1", "r2", "r3"]
    assert found[0].sent_at == SINCE + timedelta(seconds=1.5)
    assert (found[0].arguments, found[0].ended_at, found[0].status) == ({"prompt": "x"}, None, None)
    assert (found[1].status, found[1].ended_at) == (200, SINCE + timedelta(seconds=9))
    assert [dict(call.request.url.params) for call in asked.calls] == [
        {
            "endpoint_id": ENDPOINT,
            "start": "2026-11-20T10:00:00Z",
            "end": "2026-11-20T10:05:00Z",
            "expand": "payloads",
            "limit": "100",
        }
        | more
        for more in ({}, {"cursor": "c1"})
    ]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_without_the_right_gets_no_list(provider: FalProvider, status: int) -> None:
    with respx.mock:
        respx.get(LIST).respond(status, json={"detail": "Admin key needed"})

        assert await provider.listed(ENDPOINT, SINCE, UNTIL) is None


async def test_entries_that_cannot_be_read_are_passed_over(provider: FalProvider) -> None:
    odd = ["x", {}, _item(1, sent_at="yesterday"), _item(2, request_id=7), _item(3, status_code="200")]
    with respx.mock:
        respx.get(LIST).respond(200, json={"items": odd})

        found = await provider.listed(ENDPOINT, SINCE, UNTIL)

    assert [(each.request_id, each.status) for each in found or ()] == [("r3", None)]


async def test_part_of_a_list_is_never_taken_for_the_whole(provider: FalProvider) -> None:
    with respx.mock:
        asked = respx.get(LIST).respond(200, json={"items": [_item(1)], "next_cursor": "on and on"})
        with pytest.raises(Unavailable, match="too long"):
            await provider.listed(ENDPOINT, SINCE, UNTIL)
        assert asked.call_count == 50

        asked.mock(side_effect=[httpx.Response(200, json={"items": [], "next_cursor": "c"}), httpx.ReadTimeout])
        with pytest.raises(Unavailable):
            await provider.listed(ENDPOINT, SINCE, UNTIL)

        asked.mock(return_value=httpx.Response(500, text=NGINX))
        with pytest.raises(Unavailable):
            await provider.listed(ENDPOINT, SINCE, UNTIL)


# --- webhook keys ---


def _jwk(raw: bytes, *, padded: bool = False, **changes: Any) -> dict[str, Any]:
    x = base64.urlsafe_b64encode(raw).decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x if padded else x.rstrip("="), "kid": "1"} | changes


ONE, OTHER = bytes(range(32)), b"\xff\xfe" * 16


async def test_keys_are_read_padded_or_not_and_asked_for_without_our_key(provider: FalProvider) -> None:
    with respx.mock:
        asked = respx.get(KEYS).respond(json={"keys": [_jwk(ONE), _jwk(OTHER, padded=True)]})

        assert await provider.keys() == [ONE, OTHER]
        assert "authorization" not in asked.calls.last.request.headers


async def test_only_ed25519_keys_count_and_sixteen_at_most(provider: FalProvider) -> None:
    odd = [
        _jwk(ONE, kty="EC"),
        _jwk(ONE, crv="X25519"),
        _jwk(b"short"),
        _jwk(bytes(33)),
        _jwk(ONE, x=None),
        _jwk(ONE, x="!!!!"),
        _jwk(ONE, x="ä"),
        "text",
        {},
    ]
    many = [_jwk(bytes([number]) * 32) for number in range(40)]
    with respx.mock:
        respx.get(KEYS).respond(json={"keys": [*odd, *many]})

        assert await provider.keys() == [bytes([number]) * 32 for number in range(16)]


@pytest.mark.parametrize("first", [httpx.ConnectError, httpx.Response(404), httpx.Response(200, json={"keys": []})])
async def test_the_older_host_is_asked_when_the_newer_has_no_keys(provider: FalProvider, first: Any) -> None:
    with respx.mock:
        respx.get(KEYS).mock(side_effect=[first])
        respx.get(OLD_KEYS).respond(json={"keys": [_jwk(ONE)]})

        assert await provider.keys() == [ONE]


@pytest.mark.parametrize("body", ['{"keys": "x"}', "[]", "null", "no JSON", '{"keys": [[]]}'])
async def test_no_keys_anywhere_is_unavailable(provider: FalProvider, body: str) -> None:
    with respx.mock:
        respx.get(KEYS).respond(text=body)
        respx.get(OLD_KEYS).mock(side_effect=httpx.ConnectTimeout)

        with pytest.raises(Unavailable, match="webhook keys"):
            await provider.keys()


# --- references ---

TOKEN = "https://rest.fal.ai/storage/auth/token"
UPLOAD = "https://v3.fal.media/files/upload"


def _token(lifetime: timedelta) -> dict[str, str]:
    expires = (datetime.now(UTC) + lifetime).isoformat()
    return {"token": "t0", "token_type": "Bearer", "base_url": "https://v3b.fal.media", "expires_at": expires}


async def _chunks() -> AsyncIterator[bytes]:
    yield b"pic"
    yield b"ture"


async def _place(provider: FalProvider) -> str:
    return await provider.place(_chunks(), size=7, content_type="image/png", name="a.png")


async def test_a_reference_is_streamed_with_a_token_that_is_kept(provider: FalProvider) -> None:
    with respx.mock:
        token = respx.post(TOKEN).respond(json=_token(timedelta(hours=1)))
        upload = respx.post(UPLOAD).respond(json={"access_url": "https://v3.fal.media/files/a.png"})

        assert await _place(provider) == "https://v3.fal.media/files/a.png"
        await _place(provider)

        request = upload.calls.last.request
        assert (token.call_count, upload.call_count) == (1, 2)
        assert token.calls.last.request.headers["authorization"] == "Key key-id:key-secret"
        assert token.calls.last.request.url.query == b"storage_type=fal-cdn-v3"
        assert request.headers["authorization"] == "Bearer t0"
        assert request.headers["content-length"] == "7"
        assert request.headers["content-type"] == "image/png"
        assert request.headers["x-fal-file-name"] == "a.png"
        assert "transfer-encoding" not in request.headers
        assert request.content == b"picture"


async def test_a_token_about_to_expire_is_renewed(provider: FalProvider) -> None:
    with respx.mock:
        token = respx.post(TOKEN).respond(json=_token(timedelta(minutes=4)))
        respx.post(UPLOAD).respond(json={"access_url": "https://v3.fal.media/files/a.png"})

        await _place(provider)
        await _place(provider)

        assert token.call_count == 2


@pytest.mark.parametrize(
    ("token", "upload"),
    [
        (httpx.Response(401, json={"detail": "No user found"}), None),
        (httpx.Response(200, json={"token": "t"}), None),
        (httpx.Response(200, text="no JSON"), None),
        (httpx.ConnectError, None),
        (None, httpx.Response(500, text=NGINX)),
        (None, httpx.Response(200, json={})),
        (None, httpx.Response(200, json={"access_url": "file:///x"})),
        (None, httpx.ReadTimeout),
    ],
)
async def test_a_reference_that_cannot_be_placed_is_unavailable(provider: FalProvider, token: Any, upload: Any) -> None:
    with respx.mock(assert_all_called=False) as fal:
        fal.post(TOKEN).mock(side_effect=[token or httpx.Response(200, json=_token(timedelta(hours=1)))])
        fal.post(UPLOAD).mock(side_effect=[upload])

        with pytest.raises(Unavailable):
            await _place(provider)


# --- the doctor ---


@pytest.mark.parametrize("answer", [httpx.Response(404, json={"status": "NOT_FOUND"}), httpx.Response(405)])
async def test_a_fal_that_knows_our_key_is_well(provider: FalProvider, answer: httpx.Response) -> None:
    with respx.mock:
        respx.get(url__startswith="https://queue.fal.run/fal-ai/flux/requests/").mock(return_value=answer)

        await provider.check()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(401, json={"detail": "No user found for Key ID and Secret"}), "Check the key"),
        (httpx.Response(403, json={"detail": "User is locked. Reason: Exhausted balance"}), "Exhausted balance"),
        (httpx.Response(503, text=NGINX), "not well"),
        (httpx.ConnectError("refused"), "No connection to queue.fal.run"),
    ],
)
async def test_the_check_says_what_a_person_can_do(provider: FalProvider, answer: Any, words: str) -> None:
    with respx.mock:
        respx.get(url__startswith="https://queue.fal.run/").mock(side_effect=[answer])

        with pytest.raises(Unavailable, match=words):
            await provider.check()
