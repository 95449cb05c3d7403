"""One call of `submit` is one POST, whatever happens on the wire; and of each thing that happens, what it proves."""

import asyncio
import gzip
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fal_client
import httpx
import pytest

from app.adapters.fal import FalProvider
from app.adapters.fal_once import NothingSent
from app.adapters.fal_wire import Waits
from app.ports import Accepted, NotAccepted, Rejected, Submission, Unanswered, Unsent
from tests.adapters.raw_fal import RawFal, Script, accepted, answer, cuts, drips, hangs_up, never_answers, says
from tests.contracts.certificates import certificate

ENDPOINT = "fal-ai/flux/schnell"
ARGUMENTS = {"prompt": "a cup, ünïcode", "seed": 17454220438242315174, "image_urls": ["https://x.example/?a=1&b=2"]}
WEBHOOK = "https://darkroom.example/api/webhooks/fal/att_01/k1.0123456789abcdef?x=1&y=ä"
NGINX = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
ID = {"X_Fal_Request_Id": "9d1e"}
QUICK = Waits(connect=0.5, submit=0.5, read=0.5)
PATIENT = Waits(connect=20.0, submit=20.0, read=20.0)

Open = Callable[..., Any]


@pytest.fixture
def talking() -> Open:
    """Opens a raw fal with this script, and a provider that asks it."""

    @asynccontextmanager
    async def opened(script: Script, waits: Waits = QUICK) -> AsyncIterator[tuple[RawFal, FalProvider]]:
        async with RawFal(script).open() as fal:
            provider = FalProvider("key-id:key-secret", origin=fal.url, waits=waits)
            try:
                yield fal, provider
            finally:
                await provider.close()

    return opened


async def _submit(provider: FalProvider, **options: Any) -> Submission:
    return await provider.submit(ENDPOINT, ARGUMENTS, webhook_url=WEBHOOK, start_timeout=600, **options)


CHAOS: dict[str, tuple[Script, type]] = {
    "accepts and resets": (cuts, Unanswered),
    "accepts and hangs up": (hangs_up, Unanswered),
    "never answers": (never_answers, Unanswered),
    "answers a byte at a time": (drips, Unanswered),
    "half a status line": (says(b"HTTP/1.", then_cut=True), Unanswered),
    "half the headers": (says(b"HTTP/1.1 200 OK\r\nContent-Le", then_cut=True), Unanswered),
    "half the body": (says(answer("200 OK", b'{"request_id": "1"}')[:-5], then_cut=True), Unanswered),
    "half the body, closed properly": (
        says(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"request_id": "3f2', then_cut=True),
        Unanswered,
    ),
    "success that is no JSON": (says(answer("200 OK", b"<html>OK</html>")), Unanswered),
    "success that names no request": (says(answer("200 OK", b'{"status": "IN_QUEUE"}')), Unanswered),
    "success that is a list": (says(answer("200 OK", b"[]")), Unanswered),
    "success that is null": (says(answer("200 OK", b"null")), Unanswered),
    "success with a number for an id": (
        says(answer("200 OK", b'{"request_id": 1, "response_url": "", "status_url": "", "cancel_url": ""}')),
        Unanswered,
    ),
    "success that cannot be unpacked": (says(answer("200 OK", b"no gzip", Content_Encoding="gzip")), Unanswered),
    "success that is packed": (
        says(answer("200 OK", gzip.compress(accepted("https://queue.fal.run")), Content_Encoding="gzip")),
        Unanswered,
    ),
    "success nested too deeply": (says(answer("200 OK", b"[" * 100_000)), Unanswered),
    "empty success": (says(answer("202 Accepted", b"")), Unanswered),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.2\r\n", then_cut=True), Unanswered),
    "nginx 502": (says(answer("502 Bad Gateway", NGINX)), Unanswered),
    "nginx 503": (says(answer("503 Service Unavailable", NGINX)), Unanswered),
    "nginx 504": (says(answer("504 Gateway Time-out", NGINX)), Unanswered),
    "nginx 404": (says(answer("404 Not Found", NGINX)), Unanswered),
    "nginx 499": (says(answer("499 Client Closed", b"{}")), Unanswered),
    "500 of fal": (says(answer("500 Internal Server Error", b'{"detail": "oops"}', **ID)), Unanswered),
    "503 of fal": (says(answer("503 Service Unavailable", b'{"detail": "busy"}', **ID)), Unanswered),
    "504 of our start timeout": (says(answer("504 Timeout", b"{}", X_Fal_Request_Timeout_Type="user")), Unanswered),
    "a redirect": (says(answer("307 Temporary Redirect", b"", Location="https://queue.fal.run/")), Unanswered),
    "408": (says(answer("408 Request Timeout", b"{}")), Unanswered),
    "409": (says(answer("409 Conflict", b"{}")), Unanswered),
    "409 of fal": (says(answer("409 Conflict", b'{"detail": "taken"}', **ID)), Rejected),
    "422 of the model": (says(answer("422 Unprocessable", b'{"detail": [{"type": "missing"}]}', **ID)), Rejected),
    "422 of the gateway": (says(answer("422 Unprocessable", b'{"detail": [{"type": "missing"}]}')), Rejected),
    "404 of fal": (says(answer("404 Not Found", b'{"detail": "Application not found"}')), Rejected),
    "400 of fal": (says(answer("400 Bad Request", b"not JSON", **ID)), Rejected),
    "401": (says(answer("401 Unauthorized", b'{"detail": "No user found"}')), NotAccepted),
    "403": (says(answer("403 Forbidden", b'{"detail": "User is locked. Reason: Exhausted balance"}')), NotAccepted),
    "429": (says(answer("429 Too Many Requests", b'{"detail": "slow down"}', Retry_After="7")), NotAccepted),
    "429 of nginx": (says(answer("429 Too Many Requests", NGINX)), NotAccepted),
}


@pytest.mark.parametrize(("script", "outcome"), CHAOS.values(), ids=CHAOS)
async def test_one_call_is_one_post_whatever_happens(talking: Open, script: Script, outcome: type) -> None:
    async with talking(script) as (fal, provider):
        submission = await _submit(provider)

        assert type(submission) is outcome, submission
        assert len(fal.posts) == 1
        assert WEBHOOK not in repr(submission)
        assert "0123456789abcdef" not in repr(submission)


async def test_a_good_answer_is_a_ticket_with_the_three_urls_given(talking: Open) -> None:
    async def script(fal: RawFal, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", accepted(fal.url)))

    async with talking(script) as (fal, provider):
        submission = await _submit(provider)

        assert isinstance(submission, Accepted)
        assert submission.ticket == provider.ticket(ENDPOINT, "3f2c8a1e-1111-4222-8333-444455556666")
        assert submission.ticket.status_url.startswith(f"{fal.url}/fal-ai/flux/requests/")
        assert len(fal.posts) == 1


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "http://127.0.0.1:1", "https://queue.fal.run.evil.example"]
)
async def test_urls_that_lead_elsewhere_are_not_kept(talking: Open, elsewhere: str) -> None:
    async with talking(says(answer("200 OK", accepted(elsewhere)))) as (fal, provider):
        submission = await _submit(provider)

        assert isinstance(submission, Accepted)
        assert submission.ticket.status_url.startswith(fal.url)


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://queue.fal.run/x", True),
        ("https://rest.fal.ai/x", True),
        ("https://fal.run/x", True),
        ("https://queue.fal.run:443/x", True),
        ("http://queue.fal.run/x", False),
        ("https://queue.fal.run:8443/x", False),
        ("https://queue.fal.run.evil.example/x", False),
        ("https://evilfal.run/x", False),
        ("https://user@queue.fal.run/x", False),
        ("https://v3.fal.media/x", False),
        ("https://queue.fal.run\\@evil.example/x", False),
        ("https://evil.example/https://queue.fal.run", False),
        ("file:///etc/passwd", False),
        ("", False),
        ("https://[", False),
    ],
)
async def test_our_key_goes_to_fal_only(url: str, trusted: bool) -> None:
    provider = FalProvider("key", waits=QUICK)

    assert provider._wire.trusts(url) is trusted
    if not trusted:
        with pytest.raises((NothingSent, httpx.InvalidURL)):
            await provider._wire.ask("GET", url)
    await provider.close()


async def test_a_late_answer_is_no_answer_and_asks_no_second_time(talking: Open) -> None:
    release = asyncio.Event()

    async def script(fal: RawFal, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(answer("200 OK", accepted(fal.url)))

    async with talking(script) as (fal, provider):
        submission = await _submit(provider)
        release.set()

        assert isinstance(submission, Unanswered)
        assert len(fal.posts) == 1


async def test_a_refused_connection_is_tried_again_at_once_and_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Any] = []
    real = socket.socket.connect
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()

        def connect(self: socket.socket, to: Any) -> None:
            tried.append(to)
            real(self, to)

        monkeypatch.setattr("socket.socket.connect", connect)
        provider = FalProvider("key", origin=f"http://127.0.0.1:{address[1]}", waits=QUICK)
        submission = await _submit(provider)
        await provider.close()

    assert isinstance(submission, Unsent)
    assert tried.count(address) == 3


async def test_an_unknown_host_is_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    provider = FalProvider("key", waits=QUICK)

    assert isinstance(await _submit(provider), Unsent)
    await provider.close()


async def test_a_handshake_that_fails_is_unsent() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        provider = FalProvider("key", origin=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", waits=QUICK)
        submission = await _submit(provider)
        await provider.close()

    assert isinstance(submission, Unsent)


async def test_a_connection_that_is_good_again_is_used() -> None:
    """Nobody listens at first; the third try finds somebody."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    provider = FalProvider("key", origin=f"http://127.0.0.1:{port}", waits=QUICK)
    submitting = asyncio.create_task(_submit(provider))
    fal = RawFal(says(answer("200 OK", accepted("https://queue.fal.run"))))

    server = await asyncio.start_server(fal._serve, "127.0.0.1", port)
    async with server:
        submission = await submitting
        await provider.close()

    assert isinstance(submission, Accepted)
    assert len(fal.posts) == 1


async def test_a_connection_that_was_kept_and_is_cut_is_no_reason_to_post_again(talking: Open) -> None:
    async def script(fal: RawFal, writer: asyncio.StreamWriter) -> None:
        if len(fal.posts) > 1:
            raise ConnectionResetError
        writer.write(answer("200 OK", accepted(fal.url)))

    async with talking(script) as (fal, provider):
        assert isinstance(await _submit(provider), Accepted)
        assert isinstance(await _submit(provider), Unanswered)
        assert len(fal.posts) == 2


async def test_many_submissions_at_once_are_as_many_posts(talking: Open) -> None:
    async def script(fal: RawFal, writer: asyncio.StreamWriter) -> None:
        if len(fal.posts) % 3 == 0:
            raise ConnectionResetError
        writer.write(answer("200 OK", accepted(fal.url, f"id-{len(fal.posts)}")))

    async with talking(script, PATIENT) as (fal, provider):
        submissions = await asyncio.gather(*(_submit(provider) for _ in range(60)))

        assert len(fal.posts) == 60
        assert {type(each) for each in submissions} == {Accepted, Unanswered}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("2.5", 2.5), ("999999", 3600.0), ("-3", None), ("soon", None), ("nan", None), ("", None)],
)
async def test_retry_after_is_read_when_it_can_be(talking: Open, header: str, seconds: float | None) -> None:
    async with talking(says(answer("429 Too Many", b"{}", Retry_After=header))) as (_, provider):
        submission = await _submit(provider)

    assert isinstance(submission, NotAccepted)
    assert submission.retry_after == seconds


async def test_a_date_may_say_when_to_come_back(talking: Open) -> None:
    header = "Fri, 31 Dec 2100 23:59:59 GMT"
    async with talking(says(answer("429 Too Many", b"{}", Retry_After=header))) as (_, provider):
        submission = await _submit(provider)

    assert isinstance(submission, NotAccepted)
    assert submission.retry_after == 3600.0


async def test_what_is_refused_keeps_fals_words_and_id(talking: Open) -> None:
    body = {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]}
    async with talking(says(answer("422 X", json.dumps(body).encode(), **ID))) as (_, provider):
        assert await _submit(provider) == Rejected(422, body, "9d1e")


# --- the request itself ---


def _request(post: bytes) -> tuple[str, str, dict[str, str], Any]:
    head, _, body = post.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    return method, target, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


async def test_the_request_carries_what_fal_is_told(talking: Open) -> None:
    async with talking(hangs_up) as (fal, provider):
        await _submit(provider, low_priority=True)

    method, target, headers, body = _request(fal.posts[0])
    assert (method, urlsplit(target).path) == ("POST", f"/{ENDPOINT}")
    assert parse_qs(urlsplit(target).query) == {"fal_webhook": [WEBHOOK]}
    assert json.loads(body) == ARGUMENTS
    assert headers["authorization"] == "Key key-id:key-secret"
    assert headers["x-fal-request-start-timeout"] == headers["x-fal-request-timeout"] == "600.0"
    assert headers["x-fal-queue-priority"] == "low"
    assert json.loads(headers["x-fal-object-lifecycle-preference"]) == {"expiration_duration_seconds": 3 * 86400}
    assert not [name for name in headers if "darkroom" in name]


async def test_without_a_webhook_none_is_registered(talking: Open) -> None:
    async with talking(hangs_up) as (fal, provider):
        await provider.submit(ENDPOINT, ARGUMENTS, webhook_url=None)

    _, target, headers, _ = _request(fal.posts[0])
    assert target == f"/{ENDPOINT}"
    assert not headers.keys() & {"x-fal-queue-priority", "x-fal-request-timeout"}


async def test_the_wire_is_the_one_of_stock_fal_client(talking: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte the request that fal-client sends by itself for the same call, our lifetime of files apart, and
    our wish for what is not packed."""
    async with RawFal(says(answer("200 OK", accepted("https://queue.fal.run")))).open() as fal:
        monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{fal.url}/")
        stock = fal_client.AsyncClient(key="key-id:key-secret")
        await stock.submit(
            ENDPOINT,
            ARGUMENTS,
            webhook_url=WEBHOOK,
            priority="low",
            start_timeout=600,
            headers={
                "X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 259200}',
                "X-Fal-Request-Start-Timeout": "600.0",
                "Accept-Encoding": "identity",
            },
        )
        await (await stock._client).aclose()
        monkeypatch.undo()
        provider = FalProvider("key-id:key-secret", origin=fal.url)
        await _submit(provider, low_priority=True)
        await provider.close()

    theirs, ours = map(_request, fal.posts)
    assert ours == theirs


async def test_who_is_trusted_when_asked_is_trusted_when_bought_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = certificate(tmp_path / "own")
    serving, trusted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context(cafile=own.file)
    serving.load_cert_chain(own.file, own.key)
    async with RawFal(says(answer("200 OK", accepted("https://queue.fal.run")))).open(serving) as fal:
        stranger = FalProvider("key-id:key-secret", origin=fal.url, waits=QUICK)
        assert isinstance(await _submit(stranger), Unsent)
        assert not fal.posts
        await stranger.close()
        monkeypatch.setattr(httpx, "create_ssl_context", lambda **_options: trusted)
        provider = FalProvider("key-id:key-secret", origin=fal.url, waits=QUICK)
        assert isinstance(await _submit(provider), Accepted)
        assert (await provider.progress(provider.ticket(ENDPOINT, "abc"))).state == "queued"
        await provider.close()


# --- what we lean on in fal-client ---


def test_the_seam_in_fal_client_is_where_we_cut() -> None:
    assert "_client" in vars(fal_client.AsyncClient), "fal-client has moved its HTTP client: look at fal_wire._OneShot"
    assert fal_client.client.MAX_ATTEMPTS > 1, "fal-client no longer repeats by itself: fal_wire may become simpler"


async def test_fal_client_sends_through_our_transport_and_through_nothing_else(
    talking: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[httpx.AsyncClient] = []
    real = httpx.AsyncClient.__init__

    def init(self: httpx.AsyncClient, *args: Any, **options: Any) -> None:
        made.append(self)
        real(self, *args, **options)

    async with talking(hangs_up) as (fal, provider):
        monkeypatch.setattr(httpx.AsyncClient, "__init__", init)
        await _submit(provider)

        assert len(fal.posts) == 1
    assert made == []


@pytest.mark.parametrize(
    "endpoint", ["fal-ai/flux-pro/v1.1", "fal-ai/nano-banana/edit", "workflows/me/mine/x", "comfy/a/b"]
)
async def test_tickets_are_derived_as_fal_client_derives_them(endpoint: str) -> None:
    handle = await fal_client.AsyncClient(key="k").get_handle(endpoint, "1234")
    provider = FalProvider("k")

    ticket = provider.ticket(endpoint, "1234")

    assert (ticket.status_url, ticket.response_url, ticket.cancel_url) == (
        handle.status_url,
        handle.response_url,
        handle.cancel_url,
    )
    await provider.close()
    await (await fal_client.AsyncClient(key="k")._client).aclose()


@pytest.mark.parametrize(
    "origin", ["ftp://127.0.0.1", "http://127.0.0.1/path", "http://u:p@127.0.0.1", "127.0.0.1:9000", "http://"]
)
def test_an_origin_is_scheme_host_and_port(origin: str) -> None:
    with pytest.raises(ValueError, match="has to look like"):
        FalProvider("k", origin=origin)


# --- secrets and surroundings ---


@pytest.mark.parametrize("script", [s for s, _ in CHAOS.values()], ids=CHAOS)
async def test_neither_tag_nor_key_reaches_any_log(
    talking: Open, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="httpx")
    caplog.set_level(logging.DEBUG, logger="httpcore")
    caplog.set_level(logging.DEBUG, logger="fal_client.client")

    async with talking(script) as (_, provider):
        await _submit(provider)

    assert "0123456789abcdef" not in caplog.text
    assert "key-secret" not in caplog.text


async def test_proxies_of_the_environment_are_not_used(talking: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("FAL_KEY", "another")

    async with talking(says(answer("401 Unauthorized", b"{}"))) as (fal, provider):
        assert isinstance(await _submit(provider), NotAccepted)

    assert b"key-secret" in fal.posts[0]


def test_importing_the_adapters_loads_no_sdk() -> None:
    import subprocess
    import sys

    names = ["claude", "clock", "disk", "fal", "fal_answers", "fal_once", "fetch", "memory_bus", "s3"]
    sdks = {"fal_client", "httpx", "anthropic", "aioboto3", "botocore", "aiohttp", "tenacity"}
    imports = "; ".join(f"import app.adapters.{name}" for name in names)
    code = f"import sys; {imports}; print(sorted({sdks!r} & {{*sys.modules}}))"
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
