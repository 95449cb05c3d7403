"""What HTTP costs: accepting a job, taking in a webhook, and an operation that does nothing, beside the peers.

Our service runs without its runner here, as the peers have none: each stores what was asked of it, and that is all.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from app.core.ids import derived
from app.jobs.model import AttemptRow, JobRow
from app.wiring import _tags
from tests.bench import letters
from tests.bench.machine import median
from tests.bench.peers import WORKSPACE as PEER
from tests.bench.peers import PlainJob
from tests.bench.seeds import fill, submitted
from tests.bench.servers import Round, Server, key_set, ours, peer, turn
from tests.bench.table import Goal, Row, Size, missing
from tests.running import SECRET, WORKSPACE, schema_of_its_own

ACCEPT = {"SQLite": Goal(10.0), "PostgreSQL": Goal(2.5)}
DOOR = {"SQLite": Goal(10.0), "PostgreSQL": Goal(3.0)}

WHY = {
    "no-op POST": "each request gets an id, a log line, two metrics and a look for what two readers of its JSON would "
    "read differently; uvicorn says hello to a GET without headers",
    "accept, SQLite": "what is left is, a third each, HTTP with its checks, validation and view, and the statements",
    "accept, PostgreSQL": "a balance is one row: each write of a workspace waits for the commit before it, as the "
    "peer's do; what remains is journeys to the server while it is held",
    "door, SQLite": "half of what is left is HTTP and the proof of the signature, which the peer pays too",
    "door, PostgreSQL": "journeys to the server, and eight threads that share one interpreter lock",
}
"""Why a goal is missed, where it is."""

Requests = Callable[[int], Sequence[bytes]]
"""What to ask in round number n."""


@dataclass(frozen=True)
class Attempt:
    """Something fal works on: where it will tell us, its word for it, and the job."""

    path: str
    request_id: str
    job: str


Paths = Sequence[Attempt]


@dataclass
class Variant:
    name: str
    server: Server
    requests: Requests
    again: bool = False


def http(size: Size, folder: Path) -> Iterator[Row]:
    """The same servers for all three, on SQLite."""
    signer = SigningKey.generate()
    with ExitStack() as open_:
        service, plain, rows = _servers(open_, folder, signer, (None, None, None))
        hello = open_.enter_context(peer("hello", folder / "hello", signer))
        yield _nothing(size, folder, service, hello)
        yield from _accept(size, folder, "SQLite", service, plain, rows)
        yield from _door(size, folder, "SQLite", signer, service, plain, rows)


def postgres(size: Size, folder: Path) -> Iterator[Row]:
    """Accepting a job and taking in a webhook, where DARKROOM_TEST_DATABASE_URL names a server."""
    if not os.environ.get("DARKROOM_TEST_DATABASE_URL"):
        yield missing("accept and door, PostgreSQL", "DARKROOM_TEST_DATABASE_URL names no server")
        return
    signer = SigningKey.generate()
    with ExitStack() as open_:
        places = tuple(open_.enter_context(schema_of_its_own()) for _ in range(3))
        servers = _servers(open_, folder, signer, places)
        yield from _accept(size, folder, "PostgreSQL", *servers)
        yield from _door(size, folder, "PostgreSQL", signer, *servers)


def _servers(
    open_: ExitStack, folder: Path, signer: SigningKey, databases: Sequence[str | None]
) -> tuple[Server, Server, Server]:
    jwks = open_.enter_context(key_set(signer))
    mine, plain, rows = databases
    return (
        open_.enter_context(ours(folder / "ours", jwks, database=mine, DARKROOM_FAL_USER_ID=letters.USER)),
        open_.enter_context(peer("plain", folder / "plain", signer, database=plain)),
        open_.enter_context(peer("rows", folder / "rows", signer, database=rows)),
    )


def _nothing(size: Size, folder: Path, service: Server, hello: Server) -> Row:
    """An operation that checks key and body and does nothing, beside uvicorn saying hello."""
    asked = letters.job("/api/v1/nothing", service.key)
    variants = [
        Variant("ours", service, _always(asked), again=True),
        Variant("hello", hello, _always(letters.request("GET", "/", b"", {})), again=True),
    ]
    rounds = _interleaved(variants, size, folder)
    _same("answers", sum(r.answers for r in rounds["ours"]), rounds["ours"], 200)
    return _row("no-op POST", rounds, "hello", Goal(0.25), "every answer was 200")


def _accept(size: Size, folder: Path, where: str, service: Server, plain: Server, rows: Server) -> Iterator[Row]:
    """POST a job."""
    naive = _always(letters.job("/jobs"))
    variants = [
        Variant("ours", service, _always(letters.job("/api/v1/jobs", service.key)), again=True),
        Variant("plain", plain, naive, again=True),
        Variant("rows", rows, naive, again=True),
    ]
    rounds = _interleaved(variants, size, folder)
    for query in (
        "SELECT count(*) FROM jobs",
        "SELECT count(*) FROM transfers WHERE kind = 'hold'",
        "SELECT count(*) FROM tasks WHERE kind = 'jobs.dispatch'",
        "SELECT count(*) FROM events WHERE type = 'job.queued'",
        "SELECT held FROM balances WHERE held > 0",
    ):
        _same(query, service.count(query), rounds["ours"], 202)
        _same(query, rows.count(query), rounds["rows"], 202)
    _same("plain jobs", plain.count("SELECT count(*) FROM plain_jobs"), rounds["plain"], 202)
    twin = f"{sum(r.answers for r in rounds['ours'])} answered, stored, held and queued"
    yield _row(f"accept, {where}", rounds, "plain", None, twin)
    yield _row(f"accept, {where}", rounds, "rows", ACCEPT[where], twin)


def _door(  # as accept, and the key
    size: Size, folder: Path, where: str, signer: SigningKey, service: Server, plain: Server, rows: Server
) -> Iterator[Row]:
    """POST a completion that fal has signed, for an attempt of its own each time."""
    each = size.of(4000)
    whole = each * (size.rounds + 1)
    variants = [
        Variant("ours", service, _sealed(our_attempts(service, whole), each, signer)),
        Variant("plain", plain, _sealed(plain_attempts(plain, whole), each, signer)),
        Variant("rows", rows, _sealed(same_attempts(rows, whole), each, signer)),
    ]
    rounds = _interleaved(variants, size, folder)
    for query in ("SELECT count(*) FROM deliveries", "SELECT count(*) FROM tasks WHERE kind = 'jobs.ingest'"):
        _same(query, service.count(query), rounds["ours"], 200)
        _same(query, rows.count(query), rounds["rows"], 200)
    done = plain.count("SELECT count(*) FROM plain_jobs WHERE status = 'completed'")
    _same("plain jobs", done, rounds["plain"], 200)
    twin = f"{sum(r.answers for r in rounds['ours'])} answered, kept, and tasks stored"
    yield _row(f"door, {where}", rounds, "plain", None, twin)
    yield _row(f"door, {where}", rounds, "rows", DOOR[where], twin)


def _interleaved(variants: Sequence[Variant], size: Size, folder: Path) -> dict[str, list[Round]]:
    """A round each, in turn. The first is for warming up; it is counted by the twin and by nothing else."""
    rounds: dict[str, list[Round]] = {variant.name: [] for variant in variants}
    for number in range(size.tiny, size.rounds + 1):
        for variant in variants:
            seconds = size.seconds if number else size.seconds / 2
            done = turn(variant.server, variant.requests(number), folder, seconds, again=variant.again)
            rounds[variant.name].append(done)
    return rounds


def _row(metric: str, rounds: dict[str, list[Round]], against: str, goal: Goal | None, twin: str) -> Row:
    mine, theirs = (rounds[name][1:] or rounds[name] for name in ("ours", against))
    rate, base = (median(r.rate for r in each) for each in (mine, theirs))
    cpu, base_cpu = (median(r.cpu_us for r in each) for each in (mine, theirs))
    return Row(
        metric,
        "a second",
        ours=rate,
        against={"plain": "naive peer", "rows": "naive, our rows", "hello": "uvicorn hello"}[against],
        baseline=base,
        ratio=rate / base,
        cpu_ratio=base_cpu / cpu,
        goal=goal,
        others=median(r.others for r in (*mine, *theirs)),
        twin=twin,
        more={
            "cpu_us": round(cpu, 1),
            "baseline_cpu_us": round(base_cpu, 1),
            "p50_ms": round(median(r.p50_ms for r in mine), 2),
            "p99_ms": round(median(r.p99_ms for r in mine), 2),
            "baseline_p50_ms": round(median(r.p50_ms for r in theirs), 2),
            "baseline_p99_ms": round(median(r.p99_ms for r in theirs), 2),
        },
        why=WHY[metric] if goal else "",
    )


def _same(what: str, stored: int, rounds: Sequence[Round], status: int) -> None:
    """The correctness twin: all were answered well, and what was answered is there."""
    others = {s: n for r in rounds for s, n in r.statuses.items() if s != status}
    assert not others, f"{what}: answers other than {status}: {others}"
    answered = sum(r.answers for r in rounds)
    assert stored == answered, f"{what}: {answered} answered, {stored} stored"


def _always(request: bytes) -> Requests:
    return lambda _round: [request]


def _sealed(paths: Paths, each: int, signer: SigningKey) -> Requests:
    """Signed when they are needed, since a signature ages."""

    def sealed(number: int) -> list[bytes]:
        mine = paths[number * each : (number + 1) * each]
        return [letters.completion(attempt.path, attempt.request_id, signer) for attempt in mine]

    return sealed


def our_attempts(server: Server, count: int) -> Paths:
    """So many submitted jobs, as dispatch leaves them; the path and the request id for each."""
    tags = _tags(SECRET.encode())
    attempts = _filled(server, WORKSPACE, count)
    return [Attempt(f"/api/webhooks/fal/{a.id}/{tags.sign(a.id)}", str(a.request_id), a.job) for a in attempts]


def same_attempts(server: Server, count: int) -> Paths:
    return [Attempt(f"/webhooks/{a.id}", str(a.request_id), a.job) for a in _filled(server, PEER, count)]


def plain_attempts(server: Server, count: int) -> Paths:
    ids = [derived("job", "plain", number) for number in range(count)]
    jobs = [PlainJob(id=i, request_id=f"request-{n}", owner="me", status="submitted") for n, i in enumerate(ids)]
    fill(server.database, PlainJob, jobs)
    return [Attempt(f"/webhooks/{job.id}", job.request_id, job.id) for job in jobs]


def _filled(server: Server, workspace: str, count: int) -> list[AttemptRow]:
    jobs, attempts = submitted(workspace, count)
    fill(server.database, JobRow, jobs)
    fill(server.database, AttemptRow, attempts)
    return attempts
