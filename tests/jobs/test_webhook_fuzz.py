"""Genuine letters, changed at random in every part, judged by the door and by a second reader written apart from it:
both let the same ones in (promises T7), and Hypothesis makes a small letter of a large one where they do not. And
a flood of forgeries beside good letters. About 15 s; `tests/proof/door.py` tries many more."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from tests.home import Home, Waiting
from tests.little_fal import STRANGER, USER, Letter
from tests.proof.second_reader import SecondReader

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHERS_KEY = SigningKey(b"o" * 32)
TRIES = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def waiting(home: Home) -> Waiting:
    return await home.submitted()


# --- letters ---


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """What is wrong before it is signed, and what is done to it afterwards. Often nothing."""
    often = st.sampled_from
    return {
        "user": draw(often([USER, USER, USER, USER, STRANGER, USER.upper(), ""])),
        "key": draw(often([None, None, None, None, OTHERS_KEY])),
        "at": draw(often([0, 0, 0, -200, 200, -290, 290, -310, 310, -(10**6), 10**6])),
        "body": draw(often([None, None, None, None, b"", b"{}", b"[]", b"\xff", b"[" * 70, b'{"a":1,"a":1}'])),
        "about": draw(often([None, None, None, "gw", "another", "../x"])),
        "after": draw(st.lists(_tampering(), max_size=2)) if draw(st.booleans()) else [],
    }


def _tampering() -> st.SearchStrategy[tuple[str, Any]]:
    names = st.sampled_from(["request-id", "user-id", "timestamp", "signature"])
    text = st.one_of(st.binary(max_size=20), st.from_regex(rb"[0-9+_ ]{1,14}", fullmatch=True))
    return st.one_of(
        st.tuples(st.just("header"), st.tuples(names, text)),
        st.tuples(st.just("drop"), names),
        st.tuples(st.just("repeat"), names),
        st.tuples(st.just("flip"), st.tuples(names, st.integers(0, 1023))),
        st.tuples(st.just("flip body"), st.integers(0, 4095)),
        st.tuples(st.just("cut body"), st.integers(0, 4095)),
        st.tuples(st.just("path"), st.tuples(st.integers(18, 90), st.sampled_from("0aA_./%~"))),
        st.tuples(st.just("upper"), st.just("signature")),
        st.tuples(st.just("pad"), st.tuples(names, st.sampled_from([b" ", b"\t", b"\n", b"\0", b"0"]))),
    )


def _tampered(letter: Letter, kind: str, what: Any) -> Letter:
    headers = {name.decode(): value for name, value in letter.pairs}
    full = f"x-fal-webhook-{what[0] if isinstance(what, tuple) else what}"
    value = headers.get(full, b"")
    path, body = letter.path, letter.body
    done: dict[str, Callable[[], Letter]] = {
        "header": lambda: letter.with_header(full, what[1]),
        "drop": lambda: replace(letter, pairs=letter.without(full)),
        "repeat": lambda: replace(letter, pairs=[*letter.pairs, (full.encode(), value)]),
        "flip": lambda: letter.with_header(full, _flipped(value, what[1])),
        "flip body": lambda: replace(letter, body=_flipped(body, what)),
        "cut body": lambda: replace(letter, body=body[:what]),
        "path": lambda: replace(letter, path=path[: what[0]] + what[1] + path[what[0] + 1 :]),
        "upper": lambda: letter.with_header(full, value.upper()),
        "pad": lambda: letter.with_header(full, value + what[1]),
    }
    return done[kind]()


def _flipped(text: bytes, bit: int) -> bytes:
    if not text:
        return b"\1"
    place = bit // 8 % len(text)
    return text[:place] + bytes([text[place] ^ (1 << bit % 8)]) + text[place + 1 :]


seen: dict[str, int] = {"genuine": 0, "stale": 0, "neither": 0}


@TRIES
@given(wrong=changes())
async def test_two_readers_let_the_same_letters_in(home: Home, waiting: Waiting, wrong: dict[str, Any]) -> None:
    home.services.standing.keys_asked_at = home.services.clock.monotonic() if home.services.standing.keys else None
    payload = {**home.fal.payload(waiting.request_id), "gateway_request_id": "gw"}
    before_signing = {name: wrong[name] for name in ("user", "key", "at", "body", "about")}
    letter = home.letter(waiting, payload=payload, **before_signing)
    for kind, what in wrong["after"]:
        letter = _tampered(letter, kind, what)
    kept = len(home.rows("SELECT id FROM deliveries"))

    began = time.perf_counter()
    answer = await home.send(letter)
    took = time.perf_counter() - began

    reader = SecondReader.of(bytes(home.fal.keys[-1].verify_key), {waiting.attempt: waiting.request_id})
    expected, _ = reader.read(letter, time.time())
    seen[expected] += 1
    if expected == "genuine":
        assert (answer.status_code, answer.text in {"accepted", "repeated"}) == (200, True), answer.text
    elif expected == "stale":
        assert (answer.status_code, answer.text) == (200, "stale")
    else:
        assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
        assert len(home.rows("SELECT id FROM deliveries")) == kept
    assert took < 2


async def test_letters_of_every_kind_were_tried(home: Home) -> None:
    assert home
    assert min(seen.values()) >= 20, seen


async def test_a_flood_of_forgeries_leaves_good_letters_quick(home: Home) -> None:
    """Ten forgeries arrive with each good letter, on the same loop; the good ones alone are timed. By turns with and
    without a flood, so that whatever else this machine is doing holds up both alike."""
    waiting = await home.submitted()
    stranger = home.letter(waiting, user=STRANGER)
    mis_tagged = Letter(stranger.path[:-3] + "000", stranger.pairs, stranger.body)

    async def good(letter: Letter, began: float) -> float:
        assert await _knock(home, letter) == 200
        return time.perf_counter() - began

    alone, flooded = [], []
    for number in range(60):
        one, another = (home.letter(waiting, at=-each) for each in (number, 60 + number))
        alone.append(await good(one, time.perf_counter()))
        began = time.perf_counter()  # the forgeries are there before the good one
        found = await asyncio.gather(*(_knock(home, f) for f in [stranger, mis_tagged] * 5), good(another, began))
        assert found[:10] == [403, 404] * 5
        flooded.append(found[10])
    ratio = statistics.median(flooded) / statistics.median(alone)
    print(f"good letters: {statistics.median(alone) * 1e3:.1f} ms alone, {ratio:.2f} times that in a flood")
    assert ratio < 5, (alone, flooded)


async def _knock(home: Home, letter: Letter) -> int:
    """Without a client, whose own work would be most of what is measured."""
    scope = {"type": "http", "method": "POST", "path": letter.path, "query_string": b"", "headers": letter.pairs}
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": letter.body}

    async def send(message: Any) -> None:
        said.append(message)

    await home.app(scope, receive, send)
    return int(said[0]["status"])
