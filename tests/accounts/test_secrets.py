"""The texts of keys and cookies."""

import secrets

import pytest

from app.accounts.secrets import hashed, key_id, key_prefix, new_cookie, new_key, new_ticket, session_id
from app.core.ids import derived

KEY = derived("key", "test")
SESSION = derived("session", "test")


def test_a_key_names_its_row_and_only_its_hash_is_kept() -> None:
    made = new_key(KEY, secrets.token_bytes(32), live=True)
    assert key_id(made.text) == KEY
    assert made.text.startswith(key_prefix(KEY, live=True) + "_")
    assert made.sha256 == hashed(made.text)
    assert made.text.split("_")[3] not in repr(made.sha256)


@pytest.mark.parametrize("live", [True, False])
def test_every_single_wrong_letter_is_noticed_before_any_query(live: bool) -> None:
    text = new_key(KEY, secrets.token_bytes(32), live=live).text
    for place, letter in enumerate(text):
        other = "x" if letter != "x" else "y"
        assert key_id(text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "dk_live_", "dk_live_x_y_z", "Bearer", "dk_" * 200, "\x00", "dk_live_" + "é" * 80]
)
def test_what_cannot_be_a_key_is_none(text: str) -> None:
    assert key_id(text) is None
    assert session_id(text) is None


def test_secrets_of_all_zeros_and_all_ones_have_the_same_length() -> None:
    assert len({len(new_key(KEY, entropy, live=True).text) for entropy in (b"\0" * 32, b"\xff" * 32)}) == 1
    assert len({len(new_ticket(entropy).text) for entropy in (b"\0" * 32, b"\xff" * 32)}) == 1


def test_a_cookie_is_no_key_and_a_key_is_no_cookie() -> None:
    cookie = new_cookie(SESSION, secrets.token_bytes(32)).text
    assert session_id(cookie) == SESSION
    assert key_id(cookie) is None
    assert session_id(new_key(KEY, secrets.token_bytes(32), live=True).text) is None
