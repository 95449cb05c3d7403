"""The webhook door against everything that is not a timely, genuine completion of ours (promises I15 and I16): the
right answer, and nothing changes. About 25 s."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import pytest_asyncio
from nacl.signing import SigningKey

from app.web.middleware import Shell
from tests.home import Home, Waiting
from tests.little_fal import STRANGER, USER, Letter
from tests.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEGABYTE = 1_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def waiting(home: Home) -> Waiting:
    """A job whose genuine letter never comes: all that is tried on it has to leave it alone."""
    return await home.submitted()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(home: Home) -> Waiting:
    return await home.submitted()


Forgery = Callable[[Home, Waiting, Waiting], Letter]


def signed(body: bytes, **changes: Any) -> Forgery:
    """Truly signed by fal, for us, now: only what it says is wrong."""
    return lambda home, waiting, _: home.letter(waiting, body=body, **changes)


def saying(**changes: Any) -> Forgery:
    return lambda home, waiting, _: home.letter(waiting, payload={**home.fal.payload(waiting.request_id), **changes})


def header(name: str, value: bytes) -> Forgery:
    return lambda home, waiting, _: home.letter(waiting).with_header(f"x-fal-webhook-{name}", value)


def at(change: Callable[[str], str]) -> Forgery:
    """A good letter, to another address."""

    def forge(home: Home, waiting: Waiting, _: Waiting) -> Letter:
        good = home.letter(waiting)
        return Letter(change(good.path), good.pairs, good.body)

    return forge


def without(name: str) -> Forgery:
    def forge(home: Home, waiting: Waiting, _: Waiting) -> Letter:
        good = home.letter(waiting)
        return Letter(good.path, good.without(f"x-fal-webhook-{name}"), good.body)

    return forge


def twice(name: str) -> Forgery:
    def forge(home: Home, waiting: Waiting, _: Waiting) -> Letter:
        good = home.letter(waiting)
        again = [pair for pair in good.pairs if pair[0] == f"x-fal-webhook-{name}".encode()]
        return Letter(good.path, [*good.pairs, *again], good.body)

    return forge


def changed(change: Callable[[Letter], Letter]) -> Forgery:
    return lambda home, waiting, _: change(home.letter(waiting))


def _signature(letter: Letter) -> bytes:
    return next(value for name, value in letter.pairs if name == b"x-fal-webhook-signature")


def _moment(letter: Letter) -> bytes:
    return next(value for name, value in letter.pairs if name == b"x-fal-webhook-timestamp")


def with_signature(change: Callable[[bytes], bytes]) -> Forgery:
    return changed(lambda good: good.with_header("x-fal-webhook-signature", change(_signature(good))))


def with_moment(change: Callable[[bytes], bytes]) -> Forgery:
    """Of two readers one may take it for the number that was signed."""
    return changed(lambda good: good.with_header("x-fal-webhook-timestamp", change(_moment(good))))


def _tag_of(other: Waiting) -> str:
    return other.webhook.rpartition("/")[2]


FORGERIES: dict[str, tuple[Forgery, int, str]] = {
    "tampered": (changed(lambda g: Letter(g.path, g.pairs, g.body.replace(b'"OK"', b'"ok"'))), 401, "forged"),
    "cut short": (changed(lambda g: Letter(g.path, g.pairs, g.body[:-1])), 401, "forged"),
    "longer": (changed(lambda g: Letter(g.path, g.pairs, g.body + b" ")), 401, "forged"),
    "another's key": (lambda h, w, _: h.letter(w, key=SigningKey.generate()), 401, "forged"),
    "a bit flipped": (with_signature(lambda s: (b"0" if s[:1] != b"0" else b"1") + s[1:]), 401, "forged"),
    "signed for another second": (with_moment(lambda m: b"%d" % (int(m) - 1)), 401, "forged"),
    "signed for another request": (header("request-id", b"another"), 401, "forged"),
    "a stranger's": (lambda h, w, _: h.letter(w, user=STRANGER), 403, "stranger"),
    "a stranger as us": (
        lambda h, w, _: h.letter(w, user=STRANGER).with_header("x-fal-webhook-user-id", USER.encode()),
        401,
        "forged",
    ),
    "wrong tag": (at(lambda p: p[:-1] + ("0" if p[-1] != "0" else "1")), 404, "mis-tagged"),
    "tag of another attempt": (
        lambda h, w, o: Letter(h.letter(w).path.rpartition("/")[0] + "/" + _tag_of(o), h.letter(w).pairs, b"{}"),
        404,
        "mis-tagged",
    ),
    "unknown kid": (at(lambda p: p.rpartition("/")[0] + "/00000000." + p.rpartition(".")[2]), 404, "mis-tagged"),
    "uppercase tag": (at(lambda p: p.rpartition(".")[0] + "." + "A" + p.rpartition(".")[2][1:]), 404, "not-ours"),
    "short tag": (at(lambda p: p[:-1]), 404, "not-ours"),
    "no kid": (at(lambda p: p.rpartition("/")[0] + "/" + p.rpartition(".")[2]), 404, "not-ours"),
    "uppercase attempt": (at(lambda p: p.replace("att_", "ATT_")), 404, "not-ours"),
    "a job for an attempt": (at(lambda p: p.replace("att_", "job_")), 404, "not-ours"),
    "a line after the attempt": (at(lambda p: "%0A/".join(p.rsplit("/", 1))), 404, "not-ours"),
    "a line after the tag": (at(lambda p: p + "%0A"), 404, "not-ours"),
    "nothing for an attempt": (at(lambda p: "/api/webhooks/fal/%00/" + p.rpartition("/")[2]), 404, "not-ours"),
    "another's letter": (
        lambda h, w, o: h.fal.letter(w.webhook, o.request_id),
        404,
        "misdirected",
    ),
    **{f"no {name}": (without(name), 400, "malformed") for name in ("request-id", "user-id", "timestamp", "signature")},
    **{f"two {name}": (twice(name), 400, "malformed") for name in ("request-id", "user-id", "timestamp", "signature")},
    **{
        f"timestamp {value!r}": (header("timestamp", value), 400, "malformed")
        for value in (b"", b"1_7", b" 17 ", "１７".encode(), b"+5", b"-5", b"0x11", b"1e9", b"17.0", b"1" * 13, b"17\n")
    },
    "timestamp with a sign": (with_moment(lambda m: b"+" + m), 400, "malformed"),
    "timestamp with underscores": (with_moment(lambda m: m[:4] + b"_" + m[4:]), 400, "malformed"),
    "timestamp in full width": (
        with_moment(lambda m: "".join(chr(ord(d) - 48 + 0xFF10) for d in m.decode()).encode()),
        400,
        "malformed",
    ),
    "signature with spaces": (with_signature(lambda s: s[:2] + b" " + s[2:]), 400, "malformed"),
    "signature with 0x": (with_signature(lambda s: b"0x" + s[2:]), 400, "malformed"),
    "signature of 127": (with_signature(lambda s: s[:-1]), 400, "malformed"),
    "signature of 130": (with_signature(lambda s: s + b"00"), 400, "malformed"),
    "signature not hex": (with_signature(lambda s: b"g" + s[1:]), 400, "malformed"),
    "signature in base64": (with_signature(lambda _: b"A" * 86 + b"=="), 400, "malformed"),
    "no user": (header("user-id", b""), 400, "malformed"),
    "user of many": (header("user-id", b"u" * 201), 400, "malformed"),
    "user with a space": (header("user-id", USER.encode() + b" x"), 400, "malformed"),
    "user not ASCII": (header("user-id", "ü".encode()), 400, "malformed"),
    "request with a slash": (header("request-id", b"../../x"), 400, "malformed"),
    "the same name twice": (signed(b'{"request_id": "a", "request_id": "a"}'), 400, "unreadable"),
    "a million brackets": (signed(b"[" * (MEGABYTE - 1)), 400, "unreadable"),
    "a deep object": (signed(b'{"a":' * 1000 + b"1" + b"}" * 1000), 400, "unreadable"),
    "not UTF-8": (signed(b'{"request_id": "\xff"}'), 400, "unreadable"),
    "not JSON": (signed(b"{'request_id': 1}"), 400, "unreadable"),
    "nothing": (signed(b""), 400, "unreadable"),
    "a list": (signed(b"[]"), 400, "unreadable"),
    "NaN": (signed(b'{"request_id": NaN}'), 400, "unreadable"),
    "a number of digits": (signed(b'{"request_id": ' + b"9" * 10_000 + b"}"), 400, "unreadable"),
    "about nothing": (signed(b"{}"), 400, "unreadable"),
    "about another request": (saying(request_id="another", gateway_request_id="a third"), 400, "unreadable"),
    "about a list": (saying(request_id=["a"]), 400, "unreadable"),
    "about a path": (signed(b'{"request_id": "../x", "gateway_request_id": "g"}', about="g"), 400, "unreadable"),
    "a megabyte and one": (signed(b"[" + b" " * (MEGABYTE - 1) + b"]"), 413, "too-large"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_is_not_genuine_and_ours_changes_nothing(
    home: Home, waiting: Waiting, other: Waiting, name: str
) -> None:
    forge, status, verdict = FORGERIES[name]
    before, refused = home.tables(), _refused(home)

    answer = await home.send(forge(home, waiting, other))

    assert (answer.status_code, answer.text) == (status, verdict)
    assert home.tables() == before
    [new] = [refusal for id_, refusal in _refused(home).items() if id_ not in refused]
    assert new["reason"] == verdict
    assert len(new["detail"]) <= 300
    assert "\n" not in new["attempt"]
    assert "\0" not in new["attempt"]


@pytest.mark.parametrize("suffix", ["/", "//", "/x", "?a=1/"])
async def test_another_address_is_not_found_and_never_redirected(home: Home, waiting: Waiting, suffix: str) -> None:
    good = home.letter(waiting, user=STRANGER)
    before = home.tables()

    answer = await home.send(Letter(good.path + suffix, good.pairs, good.body))

    assert answer.status_code == (403 if suffix.startswith("?") else 404)
    assert home.tables() == before


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_only_post_is_taken(home: Home, waiting: Waiting, method: str) -> None:
    before = home.tables()

    answer = await home.send(home.letter(waiting), method)

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (answer.content == b"") == (method == "HEAD")
    assert home.tables() == before


@pytest.mark.parametrize("age", [-3600, -310, 310, 86400])
async def test_a_stale_letter_is_not_used_but_wakes_the_reconciler(home: Home, waiting: Waiting, age: int) -> None:
    async with home.client() as web:
        assert (await web.get(f"/api/v1/jobs/{waiting.job}")).status_code == 200
    before = home.tables({"refusals", "keys", "tasks", "watches"})

    answer = await home.send(home.letter(waiting, at=age))

    assert (answer.status_code, answer.text) == (200, "stale")
    assert home.tables({"refusals", "keys", "tasks", "watches"}) == before
    [task] = home.rows("SELECT * FROM tasks WHERE key = ?", f"jobs.reconcile:{waiting.attempt}")
    assert task["due_at"] <= home.services.clock.now().replace(tzinfo=None).isoformat(" ")


async def test_a_stale_forgery_wakes_nobody(home: Home, waiting: Waiting) -> None:
    before = home.tables()

    answer = await home.send(home.letter(waiting, at=-3600, key=SigningKey.generate()))

    assert (answer.status_code, answer.text) == (401, "forged")
    assert home.tables() == before


# --- on the wire ---


async def test_an_endless_body_is_cut(home: Home, waiting: Waiting) -> None:
    before = home.tables()
    async with serving(home.app) as port:
        answer = await _endless(port, home.letter(waiting))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert home.tables() == before


async def test_a_slow_body_is_cut(home: Home, waiting: Waiting) -> None:
    shell = home.app
    assert isinstance(shell, Shell)
    shell._manners.watch.patience = 0.2
    before = home.tables()
    async with serving(home.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_head(home.letter(waiting), b"content-length: 100") + b"{")
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert home.tables() == before
    shell._manners.watch.patience = 10.0


@pytest.mark.parametrize(
    "lengths",
    [
        b"content-length: 5\r\ncontent-length: 6",
        b"content-length: 5\r\ntransfer-encoding: chunked",
        b"content-length: +5",
    ],
)
async def test_an_unclear_length_is_refused(home: Home, waiting: Waiting, lengths: bytes) -> None:
    before = home.tables()
    async with serving(home.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_head(home.letter(waiting), lengths) + b"{    }")
        answer = await reader.read(12)
        writer.close()

    assert answer == b"HTTP/1.1 400"
    assert home.tables() == before


def _head(letter: Letter, *more: bytes) -> bytes:
    lines = [b"POST %s HTTP/1.1" % letter.path.encode(), b"host: localhost"]
    lines += [name + b": " + value for name, value in letter.pairs]
    return b"\r\n".join([*lines, *more, b"", b""])


async def _endless(port: int, letter: Letter) -> bytes:
    """Send chunk after chunk, until somebody says something."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_head(letter, b"transfer-encoding: chunked"))
    answer = asyncio.get_running_loop().create_task(reader.read(4096))
    for _ in range(1000):
        if answer.done():
            break
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await asyncio.wait([answer], timeout=0.001)
    said = await answer
    writer.close()
    return said


# --- what is kept of it ---


async def test_refusals_are_counted_all_and_kept_in_bounds(home: Home, waiting: Waiting) -> None:
    most = home.services.rules.refusals_a_minute
    letter = home.letter(waiting, user=STRANGER)
    counted, kept = _counted(home, "stranger"), len(_refused(home))

    for _ in range(most + 10):
        assert (await home.send(letter)).status_code == 403
    assert (await home.send(home.letter(waiting, key=SigningKey.generate()))).status_code == 401

    assert _counted(home, "stranger") == counted + most + 10
    assert len(_refused(home)) == kept + most + 1


async def test_only_the_newest_refusals_stay(home: Home, waiting: Waiting) -> None:
    rules, letter = home.services.rules, home.letter(waiting, user=STRANGER)
    while len(_refused(home)) < rules.refusals_kept:
        home.services.standing.refusals.clear()
        await asyncio.gather(*(home.send(letter) for _ in range(rules.refusals_a_minute)))
    home.services.standing.refusals.clear()

    await home.send(home.letter(waiting, key=SigningKey.generate()))

    assert len(_refused(home)) <= rules.refusals_kept
    assert "forged" in {refusal["reason"] for refusal in _refused(home).values()}


async def test_a_locked_database_is_a_503_and_fal_may_come_again(home: Home, other: Waiting) -> None:
    letter, before = home.letter(other), home.tables()
    with closing(sqlite3.connect(home.file, isolation_level=None)) as rival:
        rival.execute("BEGIN IMMEDIATE")
        answer = await home.send(letter)

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert home.tables() == before
    assert (await home.send(letter)).text == "accepted"


def _refused(home: Home) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in home.rows("SELECT * FROM refusals")}


def _counted(home: Home, verdict: str) -> float:
    found = home.services.metrics.registry.get_sample_value("darkroom_webhooks_total", {"verdict": verdict})
    return found or 0.0
