"""Ids, cursors, signatures, tags, back-offs and strict JSON: small values that strangers hand back to us."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidRequest, Malformed
from app.core.idempotency import IdempotencyKey
from app.core.ids import Ids, derived, is_id
from app.core.paging import Cursors, page_of
from app.core.retries import RetryPolicy
from app.core.signatures import Tags, derive, signed_by, webhook_message
from app.core.strict_json import strict_json

START = datetime(2026, 1, 1, tzinfo=UTC)

# --- ids ---


def test_ids_sort_by_time_and_never_meet() -> None:
    now = START
    ids = Ids(lambda: now, os.urandom)
    made = []
    for n in range(2000):
        now = START + timedelta(milliseconds=n * 977)
        made.append(ids.new("job"))

    assert made == sorted(made)
    same_moment = {ids.new("job") for _ in range(2000)}
    assert len(same_moment) == 2000
    assert all(is_id("job", each) and not is_id("jobs", each) and not is_id("att", each) for each in same_moment)


def test_a_derived_id_follows_from_its_parts_alone() -> None:
    assert derived("xfer", "a", "b") == derived("xfer", "a", "b") != derived("xfer", "ab") != derived("xfer", "b", "a")
    assert is_id("xfer", derived("xfer", "void", 7))


@given(st.text(max_size=60))
def test_no_other_text_is_an_id(text: str) -> None:
    assert not is_id("job", text)
    assert not is_id("job", f"job_{text[:25]}")


@pytest.mark.parametrize("tail", ["\n", " ", "\0", "0", "/x"])
def test_an_id_has_nothing_behind_it(tail: str) -> None:
    good = derived("att", 1)
    assert is_id("att", good)
    assert not is_id("att", good + tail)
    assert not is_id("att", good.upper())
    assert not is_id("att", "att_8" + good[5:]), "would not fit into 128 bits"


# --- cursors ---

CURSORS = Cursors(b"secret")


@given(st.text(min_size=1, max_size=50), st.text(min_size=1, max_size=50))
def test_a_cursor_comes_back_as_it_went_out(place: str, position: str) -> None:
    assert CURSORS.read(place, CURSORS.write(place, position)) == position


@given(st.text(max_size=80))
def test_whatever_else_comes_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidRequest):
        CURSORS.read("jobs:ws_1", text)


def test_a_cursor_is_worth_nothing_elsewhere() -> None:
    cursor = CURSORS.write("jobs:ws_1", "2026|job_1")
    for place, secret in (("jobs:ws_2", b"secret"), ("runs:ws_1", b"secret"), ("jobs:ws_1", b"other")):
        with pytest.raises(InvalidRequest) as refused:
            Cursors(secret).read(place, cursor)
        assert refused.value.errors[0].pointer == "/query/cursor"


def test_a_tampered_cursor_is_no_cursor() -> None:
    raw = bytearray(base64.urlsafe_b64decode(CURSORS.write("jobs:ws_1", "2026|job_1") + "=="))
    for n in range(len(raw)):
        changed = raw[:n] + bytes([raw[n] ^ 1]) + raw[n + 1 :]
        with pytest.raises(InvalidRequest):
            CURSORS.read("jobs:ws_1", base64.urlsafe_b64encode(changed).rstrip(b"=").decode())


def test_a_page_says_whether_there_is_more() -> None:
    full, last = page_of([1, 2, 3], 2, str), page_of([1, 2], 2, str)
    assert (full.data, full.has_more, full.next_cursor) == ([1, 2], True, "2")
    assert (last.data, last.has_more, last.next_cursor) == ([1, 2], False, None)
    assert page_of([], 2, str).data == []


# --- tags and signatures ---


def test_a_tag_is_for_one_attempt_and_survives_a_change_of_secrets() -> None:
    old, new = Tags({"k1": b"one"}), Tags({"k2": b"two", "k1": b"one"})
    mine = old.sign("att_1")
    assert old.verify("att_1", mine)
    assert new.verify("att_1", mine)
    assert new.sign("att_1").startswith("k2.")
    assert not old.verify("att_1", new.sign("att_1"))
    assert not old.verify("att_2", mine)
    assert len(mine.partition(".")[2]) == 32


@given(st.text(max_size=40))
def test_nothing_else_is_a_tag(text: str) -> None:
    tags = Tags({"k1": b"one"})
    for segment in (text, f"k1.{text}", f"{text}.{tags.sign('att_1')[3:]}"):
        if segment != tags.sign("att_1"):
            assert not tags.verify("att_1", segment)


KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32).public_key().public_bytes_raw()


@given(st.binary(max_size=80), st.one_of(st.none(), st.integers(0, 511)), st.booleans())
def test_two_verifiers_agree_on_what_is_signed(body: bytes, flipped: int | None, right: bool) -> None:
    """Ours is libsodium's; the other one is OpenSSL's."""
    message = webhook_message("req", "user", "1700000000", body)
    signature = bytearray(KEY.sign(message))
    if flipped is not None:
        signature[flipped // 8] ^= 1 << flipped % 8
    key = PUBLIC if right else OTHER
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes(signature), message)
        expected = key
    except InvalidSignature:
        expected = None

    assert signed_by(message, bytes(signature), [key]) == expected
    assert (expected is not None) == (flipped is None and right)


def test_a_signature_is_looked_for_among_all_keys() -> None:
    message = webhook_message("req", "user", "1", b"{}")
    signature = KEY.sign(message)
    assert signed_by(message, signature, [OTHER, PUBLIC]) == PUBLIC
    assert signed_by(message, signature, []) is None
    assert message.count(b"\n") == 3
    for other in (
        ("req2", "user", "1", b"{}"),
        ("req", "u", "1", b"{}"),
        ("req", "user", "2", b"{}"),
        ("req", "user", "1", b"{ }"),
    ):
        assert signed_by(webhook_message(*other), signature, [PUBLIC]) is None


def test_what_has_the_wrong_length_is_not_even_tried() -> None:
    """Libsodium would take the first bytes of the message for the end of the signature, and read past a short key."""
    message = webhook_message("req", "user", "1", b"{}")
    signature = KEY.sign(message)
    for wrong in (b"", signature[:60], signature + b"x"):
        assert signed_by(message, wrong, [PUBLIC]) is None
    assert signed_by(signature[60:] + message, signature[:60], [PUBLIC]) is None
    assert signed_by(message, signature, [b"", PUBLIC[:31], PUBLIC + b"x"]) is None


def test_keys_for_two_purposes_have_nothing_in_common() -> None:
    assert derive(b"secret", "tags") == derive(b"secret", "tags") != derive(b"secret", "cursors")
    assert len(derive(b"s", "p")) == 32


# --- intents, waits ---


def test_an_intent_is_its_method_its_path_and_its_body() -> None:
    same = IdempotencyKey.of("k", "POST", "/jobs", b"{}")
    others = [("PUT", "/jobs", b"{}"), ("POST", "/runs", b"{}"), ("POST", "/jobs", b"[]"), ("POST", "/jobs\n", b"{}")]
    assert same == IdempotencyKey.of("k", "POST", "/jobs", b"{}")
    assert same.fingerprint not in {IdempotencyKey.of("k", *other).fingerprint for other in others}


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True), st.floats(0.001, 100), st.floats(0.001, 10_000))
def test_a_wait_grows_and_has_an_end(made: int, jitter: float, first: float, ceiling: float) -> None:
    policy = RetryPolicy(first_wait=first, ceiling=ceiling)
    wait = policy.wait(made, jitter)
    assert 0.5 * min(first, ceiling) <= wait < 1.5 * ceiling + 1e-9
    assert wait <= policy.wait(made + 1, jitter)


def test_the_waits_are_those_of_the_design() -> None:
    policy = RetryPolicy()
    assert [policy.wait(n, 0.5) for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert [policy.allows(n) for n in (0, 2, 3, 4)] == [True, True, False, False]


# --- strict JSON ---

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_python_writes_is_read_the_same(document: Any) -> None:
    assert strict_json(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("raw", "pointer", "code"),
    [
        (b"", "/body", "json-invalid"),
        (b"{", "/body", "json-invalid"),
        (b"{}x", "/body", "json-invalid"),
        (b"\xef\xbb\xbf{}", "/body", "json-invalid"),
        (b'"\xff"', "/body", "encoding"),
        (b"NaN", "/body", "number"),
        (b"[1, -Infinity]", "/body", "number"),
        (b"9" * 5000, "/body", "number"),
        (b'{"a": 1, "a": 1}', "/body/a", "duplicate"),
        (b'{"a": [0, {"b/c": 1, "\\u0062/c": 2}]}', "/body/a/1/b~1c", "duplicate"),
        (b"[" * 65 + b"]" * 65, "/body", "depth"),
        (b"[" * 100_000, "/body", "depth"),
        (b'{"a":' * 100_000, "/body", "depth"),
        (b"]" * 100, "/body", "json-invalid"),
    ],
)
def test_what_two_readers_might_read_differently_is_refused_at_its_place(raw: bytes, pointer: str, code: str) -> None:
    with pytest.raises(Malformed) as refused:
        strict_json(raw)
    (error,) = refused.value.errors
    assert (error.pointer, error.code) == (pointer, code)


def test_depth_counts_levels_and_not_brackets() -> None:
    assert strict_json(b"[" * 64 + b"]" * 64)
    wide = b"[" + b"[[]]," * 5_000 + b'"' + b"[" * 500 + b'\\"]"]'
    assert len(strict_json(wide, 3)) == 5_001
    with pytest.raises(Malformed):
        strict_json(wide, 2)
