"""Webhooks: a real signature, fal's payload, its retries, and everything that chaos does to them."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from tests.waiting import until_blocking

Delivery = tuple[dict[str, str], bytes]


def _genuine(sandbox: Any, delivery: Delivery) -> bool:
    """Verified by two libraries that must agree."""
    headers, body = delivery
    names = ("request-id", "user-id", "timestamp")
    parts = [headers[f"x-fal-webhook-{name}"] for name in names]
    message = "\n".join([*parts, hashlib.sha256(body).hexdigest()]).encode()
    signature = bytes.fromhex(headers["x-fal-webhook-signature"])
    jwks = sandbox.http.get("/.well-known/jwks.json").json()["keys"]
    keys = [base64.urlsafe_b64decode(key["x"] + "=") for key in jwks]
    assert [len(key["x"]) for key in jwks] == [43, 43]
    verdicts = {any(_by_cryptography(key, signature, message) for key in keys)}
    verdicts.add(any(_by_nacl(key, signature, message) for key in keys))
    assert len(verdicts) == 1
    return verdicts.pop()


def _by_cryptography(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _by_nacl(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        VerifyKey(key).verify(message, signature)
    except BadSignatureError:
        return False
    return True


def _arrivals(receiver: Any, count: int) -> list[Delivery]:
    until_blocking(lambda: len(receiver.got) >= count)
    return list(receiver.got)


def test_a_webhook_is_signed_and_carries_the_result(sandbox: Any, receiver: Any) -> None:
    asked = int(time.time())
    body = sandbox.submit(prompt="a red cup", hook=receiver.url).json()
    [delivery] = _arrivals(receiver, 1)
    headers, raw = delivery
    payload = json.loads(raw)

    assert _genuine(sandbox, delivery)
    assert headers["x-fal-webhook-user-id"] == "user_sandbox"
    assert asked <= int(headers["x-fal-webhook-timestamp"]) <= time.time()
    assert list(payload) == sorted(payload) == ["error", "gateway_request_id", "payload", "request_id", "status"]
    assert (payload["status"], payload["error"]) == ("OK", None)
    assert payload["payload"] == sandbox.http.get(body["response_url"]).json()


def test_a_failure_is_reported_with_its_details(sandbox: Any, receiver: Any) -> None:
    sandbox.submit(prompt="x [[refuse]]", hook=receiver.url)
    [(_, raw)] = _arrivals(receiver, 1)
    payload = json.loads(raw)

    assert payload["status"] == "ERROR"
    assert payload["error"].endswith("status code: 422")
    assert payload["payload"]["detail"][0]["type"] == "content_policy_violation"


def test_each_account_has_its_own_user_id(sandbox: Any, receiver: Any) -> None:
    url = f"/fal-ai/flux/schnell?fal_webhook={receiver.url}"
    sandbox.http.post(url, json={"prompt": "x"}, headers={"Authorization": "Key other:one"})
    [(headers, _)] = _arrivals(receiver, 1)

    assert headers["x-fal-webhook-user-id"].startswith("user_")
    assert headers["x-fal-webhook-user-id"] != "user_sandbox"


def test_a_webhook_is_repeated_until_it_is_taken(sandbox: Any, receiver: Any) -> None:
    receiver.answers = [500, 404, 503]
    request_id = sandbox.submit(prompt="x", hook=receiver.url).json()["request_id"]
    deliveries = _arrivals(receiver, 4)
    until_blocking(lambda: len(_tries(sandbox, request_id)) == 4)

    assert len({body for _, body in deliveries}) == 1
    assert [one["status"] for one in _tries(sandbox, request_id)] == [500, 404, 503, 200]


def _tries(sandbox: Any, request_id: str) -> list[dict[str, Any]]:
    return [one for one in sandbox.log("deliveries") if one["request_id"] == request_id]


def test_a_redirect_loses_the_webhook_for_ever(sandbox: Any, receiver: Any) -> None:
    receiver.answers = [307]
    request_id = sandbox.submit(prompt="x", hook=receiver.url).json()["request_id"]

    def state() -> bool:
        return any(one["request_id"] == request_id and one["webhook_state"] == "lost" for one in sandbox.log("posts"))

    until_blocking(state)
    assert len(receiver.got) == 1


def test_keys_rotate_and_the_new_one_signs(start: Callable[..., Any], receiver: Any) -> None:
    sandbox = start("--speed", "60")
    before = {key["x"] for key in sandbox.http.get("/.well-known/jwks.json").json()["keys"]}
    after = {key["x"] for key in sandbox.http.post("/_rotate_keys").json()["keys"]}
    sandbox.submit(prompt="x", hook=receiver.url)
    [delivery] = _arrivals(receiver, 1)

    assert len(before & after) == 1
    assert _genuine(sandbox, delivery)


def test_a_repeated_run_shows_in_the_gateway_id(sandbox: Any, receiver: Any) -> None:
    sandbox.submit(prompt="x [[rerun]]", hook=receiver.url)
    _arrivals(receiver, 1)
    [payload] = receiver.bodies()

    assert payload["gateway_request_id"] != payload["request_id"]


def test_duplicate_comes_three_times(sandbox: Any, receiver: Any) -> None:
    sandbox.submit(prompt="x", hook=receiver.url, chaos="duplicate")

    assert all(_genuine(sandbox, delivery) for delivery in _arrivals(receiver, 3))
    assert len({body for _, body in receiver.got}) == 1


def test_lost_never_comes_but_the_result_is_there(sandbox: Any, receiver: Any) -> None:
    body = sandbox.submit(prompt="x", hook=receiver.url, chaos="lost").json()
    fired = sandbox.fired("lost")
    assert sandbox.result(body).status_code == 200

    assert until_blocking(lambda: sandbox.fired("lost") >= max(fired, 1))
    assert receiver.got == []


def test_late_comes_ten_of_its_minutes_after_the_end(start: Callable[..., Any], receiver: Any) -> None:
    sandbox = start("--speed", "600")
    asked = int(time.time())
    body = sandbox.submit(prompt="x", hook=receiver.url, chaos="late").json()
    assert sandbox.result(body).status_code == 200

    assert receiver.got == []
    [delivery] = _arrivals(receiver, 1)
    assert _genuine(sandbox, delivery)
    assert asked + 1 <= int(delivery[0]["x-fal-webhook-timestamp"]) <= time.time()


def test_early_comes_before_the_submit_is_answered(sandbox: Any, receiver: Any) -> None:
    body = sandbox.submit("fal-ai/flux/dev", prompt="x [[slow:90]]", hook=receiver.url, chaos="early").json()

    assert [one["request_id"] for one in receiver.bodies()] == [body["request_id"]]
    assert body["status"] == "IN_QUEUE"
    assert sandbox.fired("early") >= 1


def test_tampered_comes_first_and_does_not_verify(sandbox: Any, receiver: Any) -> None:
    sandbox.submit(prompt="x", hook=receiver.url, chaos="tampered")

    assert [_genuine(sandbox, delivery) for delivery in _arrivals(receiver, 2)] == [False, True]


def test_stranger_verifies_but_is_somebody_else(sandbox: Any, receiver: Any) -> None:
    body = sandbox.submit(prompt="x", hook=receiver.url, chaos="stranger").json()
    strange, ours = _arrivals(receiver, 2)

    assert _genuine(sandbox, strange)
    assert _genuine(sandbox, ours)
    assert strange[0]["x-fal-webhook-user-id"] == "user_stranger"
    assert json.loads(strange[1])["request_id"] != body["request_id"]
    assert json.loads(ours[1])["request_id"] == body["request_id"]


def test_stale_is_genuine_an_hour_old_and_never_signed_again(sandbox: Any, receiver: Any) -> None:
    receiver.answers = [503]
    sandbox.submit(prompt="x", hook=receiver.url, chaos="stale")
    first, second = _arrivals(receiver, 2)

    assert _genuine(sandbox, first)
    assert time.time() - int(first[0]["x-fal-webhook-timestamp"]) > 3500
    assert first[0]["x-fal-webhook-timestamp"] == second[0]["x-fal-webhook-timestamp"]


def test_null_payload_says_ok_and_the_queue_has_the_result(sandbox: Any, receiver: Any) -> None:
    body = sandbox.submit(prompt="x", hook=receiver.url, chaos="null_payload").json()
    _arrivals(receiver, 1)
    [payload] = receiver.bodies()

    assert (payload["status"], payload["payload"]) == ("OK", None)
    assert payload["payload_error"]
    assert sandbox.http.get(body["response_url"]).json()["images"]


def test_completed_but_422_fails_a_fine_input(sandbox: Any, receiver: Any) -> None:
    sandbox.submit(prompt="x", hook=receiver.url, chaos="completed_but_422")
    _arrivals(receiver, 1)
    [payload] = receiver.bodies()

    assert payload["status"] == "ERROR"
    assert payload["payload"]["detail"][0]["type"] == "no_media_generated"
    assert sandbox.fired("completed_but_422") >= 1


@pytest.mark.parametrize("name", ["duplicate", "lost", "late", "tampered", "stranger", "stale", "null_payload"])
def test_a_prompt_can_ask_for_a_chaos(sandbox: Any, receiver: Any, name: str) -> None:
    before = sandbox.fired(name)
    sandbox.submit(prompt=f"x [[chaos:{name}]]", hook=receiver.url)

    until_blocking(lambda: sandbox.fired(name) == before + 1)
