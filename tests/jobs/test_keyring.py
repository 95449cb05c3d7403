"""Fal's signing keys: fetched when needed and at most once a minute, kept through failures, replaced when fal replaces
them; and the fal user that is believed. About 6 s."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nacl.signing import SigningKey

from app.adapters.fal import FalProvider
from app.jobs.keyring import signing_keys
from tests.home import Home, home_in
from tests.little_fal import STRANGER, USER, Publish, jwk, published

pytestmark = pytest.mark.asyncio(loop_scope="module")

RSA = {"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "sig"}
JUNK: list[Any] = [None, 7, "key", [], {}, {"kty": "OKP", "crv": "Ed25519"}, {"kty": "OKP", "crv": "X25519", "x": "AA"}]


@pytest.fixture(autouse=True)
def _nothing_known(home: Home) -> Iterator[None]:
    standing, fal = home.services.standing, home.fal
    standing.keys, standing.keys_at, fal.asked = (), None, 0
    yield
    fal.publish, fal.away = published, False


SETS: dict[str, Publish] = {
    "unpadded": published,
    "padded": lambda keys: {"keys": [jwk(key, padded=True) for key in keys]},
    "among others": lambda keys: {"keys": [RSA, *JUNK, *(jwk(key) for key in keys)]},
    "second": lambda keys: {"keys": [jwk(SigningKey.generate()), *(jwk(key) for key in keys)]},
    "sixteenth": lambda keys: {"keys": [*(jwk(SigningKey.generate()) for _ in range(15)), *(jwk(k) for k in keys)]},
}


@pytest.mark.parametrize("shape", SETS)
async def test_keys_are_read_however_they_are_written(home: Home, shape: str) -> None:
    home.fal.publish = SETS[shape]

    assert (await home.send(home.letter(await home.submitted()))).text == "accepted"


USELESS: dict[str, Publish] = {
    "no keys": lambda _: {"keys": []},
    "no set": lambda _: {},
    "a list": lambda _: [],
    "keys is no list": lambda _: {"keys": 7},
    "junk": lambda _: {"keys": JUNK},
    "31 bytes": lambda keys: {"keys": [{**jwk(keys[0]), "x": jwk(keys[0])["x"][:-2]}]},
}


@pytest.mark.parametrize("shape", USELESS)
async def test_without_keys_nobody_is_believed_and_fal_may_come_again(home: Home, shape: str) -> None:
    letter = home.letter(await home.submitted())
    home.fal.publish = USELESS[shape]
    before = home.tables()

    answer = await home.send(letter)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert home.tables() == before


async def test_keys_that_cannot_be_had_are_asked_for_once_a_minute(home: Home) -> None:
    home.fal.away = True
    letter, before = home.letter(await home.submitted()), home.tables()

    assert [(await home.send(letter)).status_code for _ in range(5)] == [503] * 5
    assert home.fal.asked <= 2  # fal's host has two names, one try each
    assert home.tables() == before

    home.fal.away = False
    _a_minute_passes(home)
    assert (await home.send(letter)).text == "accepted"


async def test_a_new_key_is_learned_when_it_first_signs(home: Home) -> None:
    assert (await home.send(home.letter(await home.submitted()))).text == "accepted"
    home.fal.keys = [home.fal.keys[-1], SigningKey.generate()]
    _a_minute_passes(home)
    letters = [home.letter(await home.submitted()) for _ in range(4)]
    home.fal.asked = 0

    answers = await asyncio.gather(*map(home.send, letters))

    assert [answer.text for answer in answers] == ["accepted"] * 4
    assert home.fal.asked == 1


async def test_the_first_letters_of_all_share_one_look_for_keys(home: Home) -> None:
    letters = [home.letter(await home.submitted()) for _ in range(4)]

    answers = await asyncio.gather(*map(home.send, letters))

    assert [answer.text for answer in answers] == ["accepted"] * 4
    assert home.fal.asked == 1


async def test_a_key_that_fal_takes_back_signs_nothing_any_more(home: Home) -> None:
    old = home.fal.keys[-1]
    assert (await home.send(home.letter(await home.submitted()))).text == "accepted"
    home.fal.keys = [SigningKey.generate()]
    _a_minute_passes(home)
    assert (await home.send(home.letter(await home.submitted()))).text == "accepted"

    assert (await home.send(home.letter(await home.submitted(), key=old))).status_code == 401


async def test_forgeries_cause_one_look_a_minute_and_good_keys_outlive_its_failure(home: Home) -> None:
    waiting = await home.submitted()
    assert (await home.send(home.letter(await home.submitted()))).text == "accepted"
    home.fal.away, home.fal.asked = True, 0
    _a_minute_passes(home)

    for _ in range(20):
        assert (await home.send(home.letter(waiting, key=SigningKey.generate()))).status_code == 401

    assert home.fal.asked <= 2
    assert (await home.send(home.letter(waiting))).text == "accepted"


async def test_keys_are_renewed_after_a_day_without_being_missed_meanwhile(home: Home) -> None:
    assert (await home.send(home.letter(await home.submitted()))).text == "accepted"
    standing = home.services.standing
    assert standing.keys_at is not None
    standing.keys_at = standing.keys_at.replace(year=standing.keys_at.year - 1)
    home.fal.asked = 0
    home.fal.away = True
    _a_minute_passes(home)

    assert (await home.send(home.letter(await home.submitted()))).text == "accepted"
    assert home.fal.asked > 0


async def test_a_fal_that_does_not_answer_holds_nobody_up_for_long(home: Home) -> None:
    services = home.services
    with socket.create_server(("127.0.0.1", 0)) as silent:
        provider = FalProvider("key", origin=f"http://127.0.0.1:{silent.getsockname()[1]}")
        quick = replace(services, provider=provider, rules=replace(services.rules, keys_within=0.2))
        async with asyncio.timeout(5):
            assert list(await signing_keys(quick)) == []
        await provider.close()


# --- whom fal says it is for ---


@pytest_asyncio.fixture(loop_scope="module")
async def unpinned(tmp_path: Path) -> AsyncIterator[Home]:
    """A house that was not told its fal user."""
    async with home_in(tmp_path, DARKROOM_FAL_USER_ID="") as home:
        yield home


async def test_of_two_first_letters_at_once_only_one_can_say_who_we_are(unpinned: Home) -> None:
    one, two = await unpinned.submitted(), await unpinned.submitted()
    letters = unpinned.letter(one), unpinned.letter(two, user=STRANGER)

    answers = await asyncio.gather(*map(unpinned.send, letters))

    assert sorted(answer.status_code for answer in answers) == [200, 403]
    [pin] = unpinned.rows("SELECT * FROM pins")
    [kept] = unpinned.rows("SELECT * FROM deliveries")
    assert pin["user"] in kept["verdicts"]
    loser = STRANGER if pin["user"] == USER else USER
    again = await unpinned.send(unpinned.letter(await unpinned.submitted(), user=loser))
    assert again.status_code == 403


async def test_only_a_tagged_fresh_and_readable_letter_says_who_we_are(unpinned: Home) -> None:
    waiting = await unpinned.submitted()
    letters = [
        unpinned.letter(waiting, user=STRANGER, key=SigningKey.generate()),
        unpinned.letter(waiting, user=STRANGER, at=-3600),
        unpinned.letter(waiting, user=STRANGER, body=b"{}"),
    ]

    answers = [(await unpinned.send(letter)).text for letter in letters]

    assert answers == ["forged", "stale", "unreadable"]
    assert unpinned.rows("SELECT * FROM pins") == []
    assert (await unpinned.send(unpinned.letter(waiting))).text == "accepted"


def _a_minute_passes(home: Home) -> None:
    home.services.standing.keys_asked_at = None
