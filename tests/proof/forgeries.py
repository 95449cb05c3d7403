"""Letters to the webhook door, from the genuine to the absurd: a genuine delivery, changed in its parts before it is
signed (then it is fal's word, though perhaps not to us, or nonsense) or after (then it is nobody's).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from nacl.signing import SigningKey

from tests.little_fal import STRANGER, USER, Letter, LittleFal

NAMES = ("request-id", "user-id", "timestamp", "signature")
_ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the group in which Ed25519 counts: a signature's second half may be written in two ways, of which one is right."""
_OTHERS_KEY = SigningKey(b"o" * 32)
_OFTEN_RIGHT = 0.6
_SELDOM = 0.01
"""They take as long as a hundred others."""
_HUGE: Sequence[Callable[[bytes], bytes]] = (
    lambda _: b"[" * 100_000,
    lambda _: b'{"a":' * 1_000,
    lambda good: good[:-1] + b" " * (999_999 - len(good)) + b"}",
    lambda good: good[:-1] + b" " * (1_000_000 - len(good)) + b"}",
    lambda good: good[:-1] + b" " * (1_000_001 - len(good)) + b"}",
)
_LOOK_ALIKE = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


@dataclass(frozen=True)
class Addressed:
    """An attempt that waits for a letter: where fal was told to send it, and about what."""

    webhook: str
    request_id: str


@dataclass(frozen=True)
class Forger:
    """`letter` gives another one each time, the same ones again for the same dice."""

    fal: LittleFal
    waiting: Sequence[Addressed]
    dice: Random

    def letter(self) -> Letter:
        dice = self.dice
        mine, other = dice.sample(self.waiting, 2)
        payload = {**self.fal.payload(mine.request_id), "gateway_request_id": "gw", "n": dice.getrandbits(32)}
        letter = self.fal.letter(
            mine.webhook,
            mine.request_id,
            user=self._mostly(USER, STRANGER, USER.upper(), "", USER + "\n", "ü"),
            key=self._mostly(None, _OTHERS_KEY),
            at=self._mostly(0, -200, 200, -299, 299, -300, 300, -301, 301, -(10**6), 10**6, 10**13),
            body=self._body(payload, other.request_id),
            about=self._mostly(mine.request_id, "gw", "another", "../x", other.request_id, "", "x" * 101),
        )
        if dice.random() < 0.5:
            letter = letter.with_header("content-length", str(len(letter.body)).encode())
        while dice.random() < 0.4:
            letter = dice.choice(_TAMPERINGS)(dice, letter, other)
        return letter

    def _mostly(self, right: Any, *wrong: Any) -> Any:
        return right if self.dice.random() < _OFTEN_RIGHT else self.dice.choice((right, *wrong))

    def _body(self, payload: dict[str, Any], other: str) -> bytes:
        """Often as fal writes it; else what may be signed all the same."""
        good, dice = json.dumps(payload).encode(), self.dice
        if dice.random() < _OFTEN_RIGHT:
            return good
        if dice.random() < _SELDOM:
            return dice.choice(_HUGE)(good)
        name = dice.choice(["request_id", "gateway_request_id"])
        about: object = dice.choice([None, 7, True, [], {}, "", "x" * 101, "a b", "\u00e9", "gw", other, " x", "x\n"])
        level, cut = dice.choice([1, 50, 62, 63, 64, 65, 100]), dice.randrange(len(good))
        text, odd = '\\\\"[{]}"' * 50, "\ud800\0\U0001f600"
        numbers = [b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"01", b"1."]
        before, after = [b"\xef\xbb\xbf", b" \n", b"\0", b"[", b"//"], [b" \n\t", b"\0", b"{}", b"]", b"x"]
        bodies: Sequence[Callable[[], bytes]] = (
            lambda: json.dumps({**payload, name: about}).encode(),
            lambda: json.dumps({**payload, "text": text, "odd": odd}, indent=1).encode(),
            lambda: good.replace(b"request_id", rb"request\u005fid"),
            lambda: good[:-1] + b', "request_id": "another"}',
            lambda: good[:-1] + rb', "request\u005fid": "another"}',
            lambda: good[:-1] + b', "deep": ' + b"[" * level + b"]" * level + b"}",
            lambda: good[:-1] + b', "deep": ' + b'{"a":' * level + b"1" + b"}" * level + b"}",
            lambda: good[:-1] + b', "odd": ' + dice.choice(numbers) + b"}",
            lambda: dice.choice(before) + good,
            lambda: good + dice.choice(after),
            lambda: json.dumps(payload).encode("utf-16"),
            lambda: good[:cut] + dice.randbytes(2) + good[cut + 1 :],
            lambda: good[:cut],
            lambda: dice.choice([b"", b"{}", b"[]", b"null", b'"x"', b"\xff"]),
        )
        return dice.choice(bodies)()


# ----------------------------------------------------------------------------------------------------------------------
# What is done to a letter that was signed


def _header(dice: Random, letter: Letter, _: Addressed) -> Letter:
    """Another value, of the same form or of none."""
    digits = str(dice.randrange(10**12)).encode()
    values = [b"", digits, digits.replace(b"1", b"_"), dice.randbytes(20), b"a" * 128, b"0" * 128, b"\xd9\xa3" * 10]
    return letter.with_header(_full(dice), dice.choice(values))


def _dropped(dice: Random, letter: Letter, _: Addressed) -> Letter:
    return replace(letter, pairs=letter.without(_full(dice)))


def _repeated(dice: Random, letter: Letter, _: Addressed) -> Letter:
    """The second time as it was, or otherwise; before or after the first."""
    name = _full(dice)
    again = (name.encode(), dice.choice([_value(letter, name), b"1", b""]))
    return replace(letter, pairs=dice.choice([[again, *letter.pairs], [*letter.pairs, again]]))


def _flipped(dice: Random, letter: Letter, _: Addressed) -> Letter:
    name = _full(dice)
    return letter.with_header(name, _one_bit(dice, _value(letter, name)))


def _padded(dice: Random, letter: Letter, _: Addressed) -> Letter:
    name, pad = _full(dice), dice.choice([b" ", b"\t", b"\n", b"\0", b"0", b"+", b"_", b"00"])
    value = _value(letter, name)
    return letter.with_header(name, dice.choice([value + pad, pad + value, value[:1] + pad + value[1:]]))


def _another_case(dice: Random, letter: Letter, _: Addressed) -> Letter:
    name = _full(dice)
    return letter.with_header(name, dice.choice([_value(letter, name).upper(), _value(letter, name).title()]))


def _look_alike(_dice: Random, letter: Letter, _: Addressed) -> Letter:
    """A moment that is the same number to `int`."""
    name = f"x-fal-webhook-{NAMES[2]}"
    return letter.with_header(name, _value(letter, name).decode("latin-1").translate(_LOOK_ALIKE).encode())


def _written_otherwise(_dice: Random, letter: Letter, _: Addressed) -> Letter:
    """The same signature to whoever does not look closely: the order of the group is added to its second half."""
    name = f"x-fal-webhook-{NAMES[3]}"
    try:
        half = int.from_bytes(bytes.fromhex(_value(letter, name).decode())[32:], "little") + _ORDER
        second = half.to_bytes(32, "little").hex().encode()
    except (ValueError, OverflowError):
        return letter
    return letter.with_header(name, _value(letter, name)[:64] + second)


def _body_changed(dice: Random, letter: Letter, _: Addressed) -> Letter:
    cut = dice.randrange(len(letter.body) + 1)
    bodies = [_one_bit(dice, letter.body), letter.body[:cut], letter.body + b" ", letter.body[:cut] + b"0"]
    return replace(letter, body=dice.choice(bodies))


def _path_changed(dice: Random, letter: Letter, other: Addressed) -> Letter:
    path, place = letter.path, dice.randrange(18, max(19, len(letter.path)))
    theirs = "/" + other.webhook.split("/", 3)[3]
    head, _, tag = path.rpartition("/")
    kid, _, mac = tag.partition(".")
    paths = [
        path[:place] + dice.choice("0aA_./%~é\0\n") + path[place + 1 :],
        path[:place] + path[place + 1 :],
        theirs,
        f"{head}/{theirs.rpartition('/')[2]}",
        f"{theirs.rpartition('/')[0]}/{tag}",
        f"{head}/{kid}.{mac.upper()}",
        f"{head}/{kid}.",
        f"{head}/.{mac}",
        f"{head}/00000000.{mac}",
        path + dice.choice(["/", "0", "\n", " ", "%20", "/.."]),
        path.replace("/webhooks/", dice.choice(["//webhooks/", "/./webhooks/", "/WEBHOOKS/"])),
    ]
    return replace(letter, path=dice.choice(paths))


def _length_changed(dice: Random, letter: Letter, _: Addressed) -> Letter:
    values = [b"0", b"1", b"1000000", b"1000001", b"9" * 13, b"-1", b"+5", b" 5", b"5_0", b"", b"\xb2", b"0x10"]
    pair = (b"content-length", dice.choice(values))
    kept = letter.without("content-length") if dice.random() < 0.7 else letter.pairs
    return replace(letter, pairs=[*kept, pair])


def _more_headers(dice: Random, letter: Letter, _: Addressed) -> Letter:
    """That none of this is about."""
    names = [b"content-type", b"content-encoding", b"cookie", b"authorization", b"x-request-id", b"host", b"origin"]
    return replace(letter, pairs=[*letter.pairs, (dice.choice(names), dice.choice([b"", b"gzip", b"x", b"\xff" * 9]))])


Tampering = Callable[[Random, Letter, Addressed], Letter]
_TAMPERINGS: Sequence[Tampering] = (
    _header,
    _dropped,
    _repeated,
    _flipped,
    _padded,
    _another_case,
    _look_alike,
    _written_otherwise,
    _body_changed,
    _path_changed,
    _length_changed,
    _more_headers,
)


def _full(dice: Random) -> str:
    return f"x-fal-webhook-{dice.choice(NAMES)}"


def _value(letter: Letter, name: str) -> bytes:
    return next((value for header, value in letter.pairs if header == name.encode()), b"")


def _one_bit(dice: Random, text: bytes) -> bytes:
    if not text:
        return b"\1"
    place = dice.randrange(len(text))
    return text[:place] + bytes([text[place] ^ (1 << dice.randrange(8))]) + text[place + 1 :]
