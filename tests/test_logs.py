"""No secret gets into a line, whoever wrote it and wherever in it the secret stands."""

import io
import json
import logging
import secrets
from collections.abc import Iterator

import pytest
import structlog

from app import logs
from app.accounts.secrets import new_cookie, new_key
from app.core.ids import derived

CANARY = "CANARY0123456789abcdefCANARY"
KEY = new_key(derived("key", "log"), secrets.token_bytes(32), live=True).text
COOKIE = new_cookie(derived("session", "log"), secrets.token_bytes(32)).text
FAL = f"12345678-1234-1234-1234-123456789abc:{'0123456789abcdef' * 2}"
ATTEMPT = derived("att", "log")

SECRETS = {
    "our key": (KEY, KEY.split("_")[3]),
    "a header": (f"Authorization: Bearer {CANARY}", CANARY),
    "headers as data": (str({"authorization": f"Key {CANARY}"}), CANARY),
    "headers as bytes": (str([(b"authorization", f"Bearer {CANARY}".encode())]), CANARY),
    "a fal key": (FAL, FAL.partition(":")[2]),
    "a fal key in a header": (f"Authorization: Key {FAL}", FAL.partition(":")[2]),
    "a Claude key": (f"sk-ant-api03-{CANARY}", CANARY),
    "a key in a header of its own": (f"x-api-key: {CANARY}", CANARY),
    "a webhook's tag": (f"/api/webhooks/fal/{ATTEMPT}/1a2b.{CANARY}", CANARY),
    "a webhook's whole address": (f"https://a.example/api/webhooks/fal/{ATTEMPT}/1a2b.{CANARY}?x=1", CANARY),
    "a signed address": (f"https://b.example/k.png?X-Amz-Signature={CANARY}&X-Amz-Expires=60", CANARY),
    "a signed path": (f"/files/{CANARY}.sig", CANARY),
    "a signed path of ours": (f"http://localhost:8000/files/{CANARY}", CANARY),
    "a sign-in link": (f"/signin?ticket={CANARY}", CANARY),
    "a session": (f"cookie: a=b; darkroom_session={COOKIE}", COOKIE.partition("_")[2]),
    "a new session": (f"set-cookie: __Host-darkroom_session={COOKIE}; Path=/", COOKIE.partition("_")[2]),
    "cookies as bytes": (str([(b"cookie", f"other={CANARY}".encode())]), CANARY),
    "a database's password": (f"postgresql+psycopg://u:{CANARY}@host/db", CANARY),
    "a password": (f"password={CANARY}", CANARY),
    "a secret as data": (json.dumps({"secret": CANARY}), CANARY),
}


@pytest.fixture(params=["json", "text"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    level, config = root.level, structlog.get_config()
    out = io.StringIO()
    logs.set_up("debug", request.param, out)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_taken_out_wherever_they_stand(written: io.StringIO, kind: str) -> None:
    text, canary = SECRETS[kind]
    ours, theirs = structlog.get_logger("x"), logging.getLogger("a.library")
    ours.info(f"in the text {text}")
    ours.info("in a field", field=text)
    ours.info("inside a field", field={"inner": [text]})
    theirs.warning("in an argument %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        ours.exception("in an error")
        theirs.exception("in their error")
    assert canary not in written.getvalue()
    assert len(written.getvalue().splitlines()) >= 6


@pytest.mark.parametrize("kind", SECRETS)
def test_looking_for_a_word_first_changes_nothing(kind: str) -> None:
    for text in (SECRETS[kind][0], SECRETS[kind][0].upper(), SECRETS[kind][0].title(), f"a key {SECRETS[kind][0]}"):
        slowly = text
        for _words, pattern, put in logs._PATTERNS:
            slowly = pattern.sub(put, slowly)
        assert logs.redacted(text) == slowly


def test_which_key_it_was_may_be_told() -> None:
    assert logs.redacted(KEY) == "_".join(KEY.split("_")[:3]) + "_***"


@pytest.mark.parametrize(
    "harmless",
    [
        "job_01m7wah5vafw0rydjydrhhay0y is not on the way to completed",
        "the key of the piano, and a basic misunderstanding",
        "https://v3.fal.media/files/b/kangaroo/picture.png was fetched",
        '{"event": "request", "route": "/api/webhooks/fal/{attempt}/{tag}", "status": 200}',
        "Key fal-ai/flux is no key",
    ],
)
def test_what_is_no_secret_is_left_alone(harmless: str) -> None:
    assert logs.redacted(harmless) == harmless


def test_lines_of_ours_and_of_libraries_have_the_same_form() -> None:
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    config, out = structlog.get_config(), io.StringIO()
    logs.set_up("info", "json", out)
    try:
        with structlog.contextvars.bound_contextvars(request_id="req_1", job="job_1", workspace="ws_1"):
            structlog.get_logger("x").info("ours")
            logging.getLogger("a.library").info("theirs")
            logging.getLogger("httpx").info("too much")
    finally:
        root.handlers[:] = handlers
        root.setLevel(logging.WARNING)
        structlog.configure(**config)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["ours", "theirs"]
    for line in lines:
        assert {"level", "timestamp", "request_id", "job", "workspace"} <= line.keys()
