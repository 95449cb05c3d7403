"""The SSRF battery (T9) and the fetcher's manners. Whatever the URL, the name server and the website try, nothing
that is not public is ever connected to."""

import asyncio
import gzip
import resource
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from app.adapters import fetch
from app.adapters.addresses import UNREACHABLE, is_public
from app.adapters.fetch import GuardedFetcher, Limits
from app.core.errors import StorageFull
from app.ports import FetchFailed, FetchRefused
from tests.adapters.hostile_urls import HOSTILE, LOOPBACK, PRIVATE
from tests.adapters.websites import (
    ALSO_PUBLIC,
    PUBLIC,
    Website,
    Write,
    client_context,
    connections,
    detour,
    pause,
    write_certificate,
)

MAX = 10_000_000


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls") / "website.pem")


@pytest.fixture
async def website(certificate: Path) -> AsyncIterator[Website]:
    async with Website(certificate).open() as site:
        yield site


class Names:
    """A name server that says what the test wants, and counts how often it was asked."""

    def __init__(self, *answers: Collection[str]) -> None:
        self._answers = list(answers) or [[PUBLIC]]
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Collection[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch, website: Website) -> list[str]:
    return detour(monkeypatch, lambda: website.port)


Build = Callable[..., GuardedFetcher]


@pytest.fixture
async def build(certificate: Path) -> AsyncIterator[Build]:
    made: list[GuardedFetcher] = []

    def make(
        names: Callable[[str], Awaitable[Collection[str]]] | None = None,
        limits: Limits | None = None,
        origin: str | None = None,
    ) -> GuardedFetcher:
        fetcher = GuardedFetcher(
            lookup=names or Names(), limits=limits or Limits(), tls=client_context(certificate), result_origin=origin
        )
        made.append(fetcher)
        return fetcher

    yield make
    for fetcher in made:
        await fetcher.close()


# --- canaries ---


@pytest.fixture
def canaries() -> Iterator[None]:
    """Somebody listens wherever an attack would arrive: were a connection made, it would be seen to succeed."""
    with ExitStack() as stack:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            for port in (80, 443):
                canary = stack.enter_context(socket.socket(family))
                canary.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with suppress(OSError):  # taken, or not for us: the log of connections is enough
                    canary.bind((host, port))
                    canary.listen()
        yield


def test_the_battery_is_large_enough() -> None:
    assert len(HOSTILE) == len(set(HOSTILE)) >= 80


@pytest.mark.parametrize("url", HOSTILE)
@pytest.mark.usefixtures("canaries")
@pytest.mark.parametrize("purpose", ["user", "result"])
async def test_a_hostile_url_is_refused_before_any_name_is_looked_up(
    build: Build, tmp_path: Path, url: str, purpose: str
) -> None:
    names = Names(["127.0.0.1"])
    fetcher = build(names)

    with connections() as made:
        with pytest.raises(FetchRefused):
            fetcher.judge(url, purpose=purpose)
        with pytest.raises(FetchRefused):
            await fetcher.fetch(url, tmp_path / "file", purpose=purpose, max_bytes=MAX)

    assert made == []
    assert names.asked == []
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_hostile_url_is_not_followed(
    build: Build, website: Website, taken: list[str], tmp_path: Path, code: int
) -> None:
    fetcher = build()
    for number, hostile in enumerate(url for url in HOSTILE if url.isprintable() and ":" in url):
        start = website.redirects(f"/{number}", hostile.encode("ascii", "ignore").decode(), code)
        with connections() as made, pytest.raises((FetchRefused, FetchFailed)):
            await fetcher.fetch(start, tmp_path / "file", purpose="user", max_bytes=MAX)

        assert set(made) <= {("127.0.0.1", website.port)}


METADATA = "169.254.169.254"


@pytest.fixture
def metadata_service() -> Iterator[socket.socket]:
    """Somebody who listens where a cloud keeps its machines' secrets, on our own loopback."""
    try:
        done = _ip("add")
    except FileNotFoundError:
        pytest.skip("there is no `ip` (iproute2) to add an address to loopback with")
    if done.returncode and "exists" not in done.stderr:
        pytest.skip(f"kernel refuses to add {METADATA} to loopback: {done.stderr.strip()}")
    try:
        with socket.create_server((METADATA, 0)) as canary:
            canary.setblocking(False)
            yield canary
    finally:
        _ip("del")


def _ip(deed: str) -> subprocess.CompletedProcess[str]:
    command = ["ip", "addr", deed, f"{METADATA}/32", "dev", "lo"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def test_the_metadata_service_of_a_cloud_is_never_asked(
    build: Build, website: Website, taken: list[str], tmp_path: Path, metadata_service: socket.socket
) -> None:
    start = website.redirects("/", f"https://{METADATA}/latest/meta-data/")
    for url in (start, f"https://{METADATA}/latest/meta-data/", "https://public.example/"):
        for fetcher in (build(), build(Names([METADATA])), build(Names([PUBLIC, METADATA]))):
            with connections() as made, pytest.raises((FetchRefused, FetchFailed)):
                await fetcher.fetch(url, tmp_path / "file", purpose="user", max_bytes=MAX)
            assert set(made) <= {("127.0.0.1", website.port)}

    with pytest.raises(BlockingIOError):
        metadata_service.accept()


# --- name servers ---

_SPOILED = [
    ["127.0.0.1"],
    ["::1"],
    [PUBLIC, "127.0.0.1"],
    ["127.0.0.1", PUBLIC],
    [PUBLIC, ALSO_PUBLIC, "10.0.0.1"],
    [ALSO_PUBLIC, "::ffff:127.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["2002:7f00:1::"],
    ["fe80::1%eth0"],
    ["169.254.169.254"],
    ["0.0.0.0"],
    ["not an address"],
    [],
]


@pytest.mark.parametrize("answer", _SPOILED, ids=" ".join)
@pytest.mark.parametrize("purpose", ["user", "result"])
@pytest.mark.usefixtures("canaries")
async def test_one_address_that_is_not_public_spoils_the_name(
    build: Build, tmp_path: Path, answer: list[str], purpose: str
) -> None:
    with connections() as made, pytest.raises(FetchRefused, match=UNREACHABLE):
        await build(Names(answer)).fetch("https://v3.fal.media/x", tmp_path / "file", purpose=purpose, max_bytes=MAX)

    assert made == []


async def test_a_name_that_changes_its_mind_is_connected_to_as_judged(
    build: Build, website: Website, taken: list[str], tmp_path: Path
) -> None:
    names = Names([PUBLIC], ["127.0.0.1"])  # with no time to live at all: asked anew for each connection
    fetcher = build(names)
    url = website.says("/", Connection="close")

    await fetcher.fetch(url, tmp_path / "file", purpose="user", max_bytes=MAX)
    with pytest.raises(FetchRefused):
        await fetcher.fetch(url, tmp_path / "file", purpose="user", max_bytes=MAX)

    assert taken == [PUBLIC]
    assert names.asked == ["public.example"] * 2


async def test_a_chain_of_names_is_judged_by_where_it_ends(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, tmp_path: Path
) -> None:
    def getaddrinfo(host: str, port: int, **options: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "internal.public.example", ("10.1.2.3", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    fetcher = GuardedFetcher(tls=client_context(certificate))

    with connections() as made, pytest.raises(FetchRefused, match=UNREACHABLE):
        await fetcher.fetch("https://alias.public.example/", tmp_path / "file", purpose="user", max_bytes=MAX)

    assert made == []
    await fetcher.close()


async def test_the_last_gate_stands_even_if_the_resolver_is_fooled(
    build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judged = iter([True, False])
    monkeypatch.setattr(fetch, "is_public", lambda address: next(judged))

    with connections() as made, pytest.raises(FetchFailed, match=UNREACHABLE):
        await build(Names(["127.0.0.1"])).fetch(
            "https://public.example/", tmp_path / "file", purpose="user", max_bytes=MAX
        )

    assert made == []


async def test_all_addresses_of_a_good_answer_are_tried(
    build: Build, website: Website, taken: list[str], tmp_path: Path
) -> None:
    await build(Names([ALSO_PUBLIC, PUBLIC])).fetch(website.says("/"), tmp_path / "file", purpose="user", max_bytes=MAX)

    assert set(taken) <= {ALSO_PUBLIC, PUBLIC}


@pytest.mark.parametrize(
    "address", [PUBLIC, ALSO_PUBLIC, "8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


# --- one text for everybody who is not there ---


async def test_closed_refused_filtered_and_unknown_are_told_alike(
    build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def unknown(host: str) -> Collection[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def silent(host: str) -> Collection[str]:
        await asyncio.Event().wait()
        return []

    port = 0
    detour(monkeypatch, lambda: port)
    told: dict[str, str] = {}

    async def ask(name: str, fetcher: GuardedFetcher, url: str = "https://public.example/") -> None:
        with pytest.raises((FetchRefused, FetchFailed)) as answer:
            await fetcher.fetch(url, tmp_path / "file", purpose="user", max_bytes=MAX)
        told[name] = str(answer.value)

    quick = Limits(lookup=0.1, connect=0.3)
    await ask("refused by us", build(Names(["10.0.0.1"])))
    await ask("refused as written", build(), "https://10.0.0.1/")
    await ask("unknown", build(unknown))
    await ask("a silent name server", build(silent, quick))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        await ask("closed", build())
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        port = full.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        await ask("filtered", build(limits=quick))

    assert told == dict.fromkeys(told, UNREACHABLE)


@pytest.mark.parametrize(
    ("purpose", "kind"), [("user", FetchRefused), ("result", FetchFailed)], ids=["typed wrong", "name server is away"]
)
async def test_an_unknown_name_is_final_for_a_user_and_may_come_back_for_a_result(
    build: Build, tmp_path: Path, purpose: str, kind: type[Exception]
) -> None:
    async def unknown(host: str) -> Collection[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(kind):
        await build(unknown).fetch("https://v3.fal.media/x", tmp_path / "file", purpose=purpose, max_bytes=MAX)


# --- who may deliver results ---


@pytest.mark.parametrize("host", ["public.example", "fal.media", "evil.fal.media.example", "v3.fal.media.evil.example"])
async def test_results_come_from_listed_hosts_only(build: Build, tmp_path: Path, host: str) -> None:
    with connections() as made, pytest.raises(FetchRefused, match="Results are not taken from"):
        await build().fetch(f"https://{host}/x.png", tmp_path / "file", purpose="result", max_bytes=MAX)

    assert made == []


async def test_a_listed_host_delivers(build: Build, website: Website, taken: list[str], tmp_path: Path) -> None:
    website.says("/x.png", b"result")

    for host in ("v3.fal.media", "v3b.fal.media"):
        kind = await build().fetch(f"https://{host}/x.png", tmp_path / "file", purpose="result", max_bytes=MAX)
        assert kind == "image/png"
        assert (tmp_path / "file").read_bytes() == b"result"
    assert [visit.name for visit in website.visits] == ["v3.fal.media", "v3b.fal.media"]


async def test_the_sandbox_delivers_results_and_nothing_else(build: Build, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: image/webp\r\nConnection: close\r\n\r\nabc"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fetcher = build(origin=f"http://127.0.0.1:{port}")

    async with server:
        url = f"http://127.0.0.1:{port}/files/x.webp"
        assert await fetcher.fetch(url, tmp_path / "file", purpose="result", max_bytes=MAX) == "image/webp"
        assert (tmp_path / "file").read_bytes() == b"abc"
        with connections() as made:
            for refused, purpose in (
                (url, "user"),
                (f"http://localhost:{port}/x", "result"),
                (f"https://127.0.0.1:{port}/x", "result"),
                (f"http://127.0.0.1:{port + 1}/x", "result"),
                (f"http://user@127.0.0.1:{port}/x", "result"),
                (f"http://127.0.0.2:{port}/x", "result"),
            ):
                with pytest.raises(FetchRefused):
                    await fetcher.fetch(refused, tmp_path / "file", purpose=purpose, max_bytes=MAX)
    assert made == []


# --- redirects ---


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_user_may_be_redirected_to_another_public_host(
    build: Build, website: Website, taken: list[str], tmp_path: Path, code: int
) -> None:
    website.says("/there", b"there")

    await build().fetch(
        website.redirects("/", "https://other.example/there", code), tmp_path / "file", purpose="user", max_bytes=MAX
    )

    assert (tmp_path / "file").read_bytes() == b"there"
    assert [visit.headers["host"] for visit in website.visits] == ["public.example", "other.example"]


async def test_redirects_end_after_three(build: Build, website: Website, taken: list[str], tmp_path: Path) -> None:
    for number in range(20):
        website.redirects(f"/{number}", f"/{number + 1}")

    with pytest.raises(FetchRefused, match="redirects"):
        await build().fetch("https://public.example/0", tmp_path / "file", purpose="user", max_bytes=MAX)

    assert [visit.path for visit in website.visits] == ["/0", "/1", "/2", "/3"]


async def test_a_result_is_never_redirected(build: Build, website: Website, taken: list[str], tmp_path: Path) -> None:
    website.redirects("/", "https://v3b.fal.media/there")

    with pytest.raises(FetchRefused, match="redirects"):
        await build().fetch("https://v3.fal.media/", tmp_path / "file", purpose="result", max_bytes=MAX)

    assert len(website.visits) == 1


async def test_a_redirect_to_nowhere_fails(build: Build, website: Website, taken: list[str], tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="nowhere"):
        await build().fetch(website.redirects("/", ""), tmp_path / "file", purpose="user", max_bytes=MAX)


# --- manners ---


async def test_a_picture_arrives_whole_and_is_asked_for_plainly(
    build: Build, website: Website, taken: list[str], tmp_path: Path
) -> None:
    body = bytes(range(256)) * 4000
    url = website.says("/a.png?x=%20y", body)
    website.answers["/a.png"] = website.answers.pop("/a.png?x=%20y")

    kind = await build().fetch(url, tmp_path / "file", purpose="user", max_bytes=MAX)

    assert kind == "image/png"
    assert (tmp_path / "file").read_bytes() == body
    (visit,) = website.visits
    assert (visit.name, visit.path) == ("public.example", "/a.png?x=%20y")
    assert visit.headers["host"] == "public.example"
    assert visit.headers["accept-encoding"] == "identity"
    assert not visit.headers.keys() & {"authorization", "cookie", "referer"}


async def test_a_name_in_other_letters_is_encoded_once(
    build: Build, website: Website, taken: list[str], tmp_path: Path
) -> None:
    names = Names()
    with pytest.raises(FetchFailed):  # the certificate is another's
        await build(names).fetch("https://bücher.example/", tmp_path / "file", purpose="user", max_bytes=MAX)

    assert names.asked == ["xn--bcher-kva.example"]


async def test_cookies_are_forgotten(build: Build, website: Website, taken: list[str], tmp_path: Path) -> None:
    fetcher = build()
    url = website.says("/", Set_Cookie="spy=1; Path=/")

    for _ in range(2):
        await fetcher.fetch(url, tmp_path / "file", purpose="user", max_bytes=MAX)

    assert all("cookie" not in visit.headers for visit in website.visits)


async def test_somebody_elses_certificate_is_not_taken(
    build: Build, website: Website, taken: list[str], tmp_path: Path
) -> None:
    website.says("/")

    with pytest.raises(FetchFailed, match=UNREACHABLE):
        await build().fetch("https://stranger.example/", tmp_path / "file", purpose="user", max_bytes=MAX)

    assert website.visits == []


async def test_proxies_of_the_environment_are_not_used(
    build: Build, website: Website, taken: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")

        await build().fetch(website.says("/"), tmp_path / "file", purpose="user", max_bytes=MAX)

        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize(
    "status", ["404 Not Found", "403 Forbidden", "410 Gone", "500 Oops", "206 Partial", "204 None"]
)
async def test_another_answer_than_200_fails_with_its_status(
    build: Build, website: Website, taken: list[str], tmp_path: Path, status: str
) -> None:
    body = b"" if status.startswith("204") else b"sorry"
    with pytest.raises(FetchFailed) as failed:
        await build().fetch(website.says("/", body, status), tmp_path / "file", purpose="user", max_bytes=MAX)

    assert failed.value.status == int(status[:3])
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "gzip, identity", "IDENTITY, gzip"])
async def test_a_compressed_answer_is_refused_before_it_is_read(
    build: Build, website: Website, taken: list[str], tmp_path: Path, encoding: str
) -> None:
    bomb = gzip.compress(bytes(50_000_000))

    with pytest.raises(FetchRefused, match="compressed"):
        await build().fetch(
            website.says("/", bomb, Content_Encoding=encoding), tmp_path / "file", purpose="user", max_bytes=MAX
        )

    assert not (tmp_path / "file").exists()


async def test_a_file_that_says_it_is_too_large_is_not_read(
    build: Build, website: Website, taken: list[str], tmp_path: Path
) -> None:
    sent = 0

    async def script(write: Write) -> None:
        nonlocal sent
        await write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await write(bytes(65536))
            sent += 65536

    with pytest.raises(FetchRefused, match="larger than 1000 bytes"):
        await build().fetch(website.plays("/", script), tmp_path / "file", purpose="user", max_bytes=1000)

    assert sent < 50_000_000


async def test_an_endless_file_ends_at_the_limit_and_does_not_fill_the_memory(
    build: Build, website: Website, taken: list[str], tmp_path: Path
) -> None:
    async def script(write: Write) -> None:
        await write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FetchRefused, match="larger than"):
        await build().fetch(website.plays("/", script), tmp_path / "file", purpose="user", max_bytes=60_000_000)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    "limits", [Limits(idle=0.2), Limits(total=0.3)], ids=["nothing for a while", "too slow in all"]
)
async def test_a_trickle_is_given_up(
    build: Build, website: Website, taken: list[str], tmp_path: Path, limits: Limits
) -> None:
    async def script(write: Write) -> None:
        await write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(3 if limits.idle < 1 else 1000):
            await write(b".")
            await pause(0.01)
        await asyncio.Event().wait()

    with pytest.raises(FetchFailed, match="too slow"):
        await build(limits=limits).fetch(website.plays("/", script), tmp_path / "file", purpose="user", max_bytes=MAX)

    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nwho knows whether this is all",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_not_whole_fails(
    build: Build, website: Website, taken: list[str], tmp_path: Path, answer: bytes
) -> None:
    async def script(write: Write) -> None:
        await write(answer)

    with pytest.raises(FetchFailed):
        await build().fetch(website.plays("/", script), tmp_path / "file", purpose="user", max_bytes=MAX)

    assert not (tmp_path / "file").exists()


async def test_a_full_disk_is_said_as_such(build: Build, website: Website, taken: list[str], tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    url = website.says("/", bytes(3_000_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(StorageFull):
            await build().fetch(url, tmp_path / "file", purpose="user", max_bytes=MAX)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert not (tmp_path / "file").exists()


async def test_who_gives_up_waiting_leaves_no_file(
    build: Build, website: Website, taken: list[str], tmp_path: Path
) -> None:
    arrived = asyncio.Event()

    async def script(write: Write) -> None:
        await write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n....")
        arrived.set()
        await asyncio.Event().wait()

    fetching = asyncio.create_task(
        build().fetch(website.plays("/", script), tmp_path / "file", purpose="user", max_bytes=MAX)
    )
    await arrived.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching

    assert not (tmp_path / "file").exists()


def test_the_tables_of_the_battery_hold_what_they_say() -> None:
    assert len(LOOPBACK) >= 30
    assert len(PRIVATE) >= 40
