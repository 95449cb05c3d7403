"""From a webhook to those who watch: what fal says is taken in, means something for its job, and is told. Ours does
that in two writes with a task between them; the peers do it in one, before they answer."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from tests.bench import letters
from tests.bench.load import packed
from tests.bench.machine import Others, cpu, median
from tests.bench.row_http import Paths, our_attempts, plain_attempts, same_attempts
from tests.bench.servers import Server, key_set, ours, peer
from tests.bench.table import Goal, Row, Size
from tests.running import ROOT

READERS = 100
RATE = 400.0
NAMES = {"plain": "naive peer", "whole": "naive, our rows"}
WHY = {
    "broadcast": "telling takes a task between two writes, claimed, read and finished, where the peer does all in one; "
    "that is what a crash between them costs nothing for",
    "p99": "",
}


@dataclass
class Watched:
    """A server, where its streams are, and what its frames are called."""

    server: Server
    paths: Paths
    stream: str
    event: str


@dataclass
class Heard:
    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    others: float


def news(size: Size, folder: Path) -> Iterator[Row]:
    """As fast as it goes with many readers, then steadily with one."""
    signer = SigningKey.generate()
    each = size.of(400)
    steady = 40 if size.tiny else int(RATE * size.seconds)
    readers = 5 if size.tiny else READERS
    total = each * (size.rounds + 1) + steady
    with ExitStack() as open_:
        servers = _servers(open_, folder, signer, total)
        rounds: dict[str, list[Heard]] = {name: [] for name in servers}
        for number in range(size.tiny, size.rounds + 1):
            for name, watched in servers.items():
                letters_ = watched.paths[number * each : (number + 1) * each]
                rounds[name].append(_listen(watched, letters_, signer, folder, readers, 0.0))
        latest = {name: [_listen(w, w.paths[-steady:], signer, folder, 1, RATE)] for name, w in servers.items()}
    twin = f"each of {readers} readers heard of each of {each} jobs once"
    for against in NAMES:
        goal = Goal(20.0) if against == "whole" else None
        yield _row(f"webhook to {readers} readers", "webhooks a second", rounds, against, goal, twin, size)
    for against in NAMES:
        goal = Goal(0.25, above=False) if against == "whole" else None
        yield _row(f"webhook to frame, p99 at {RATE:g}/s", "ms", latest, against, goal, f"{steady} heard once", size)


def _servers(open_: ExitStack, folder: Path, signer: SigningKey, total: int) -> dict[str, Watched]:
    jwks = open_.enter_context(key_set(signer))
    options = {"DARKROOM_FAL_USER_ID": letters.USER, "DARKROOM_RUNNER": "inside", "BENCH_MIRROR": "no"}
    mine = open_.enter_context(ours(folder / "ours", jwks, **options))
    plain = open_.enter_context(peer("plain", folder / "plain", signer))
    whole = open_.enter_context(peer("whole", folder / "whole", signer))
    stream = "/api/v1/events?types=job.generated"
    return {
        "ours": Watched(mine, our_attempts(mine, total), stream, "job.generated"),
        "plain": Watched(plain, plain_attempts(plain, total), "/events/me", "job"),
        "whole": Watched(whole, same_attempts(whole, total), "/events/ws_of_the_peer", "job"),
    }


def _listen(watched: Watched, paths: Paths, signer: SigningKey, folder: Path, readers: int, rate: float) -> Heard:
    server, requests, tokens = watched.server, folder / "requests", folder / "tokens"
    requests.write_bytes(packed([letters.completion(a.path, a.request_id, signer) for a in paths]))
    tokens.write_text(json.dumps([a.job for a in paths]))
    command = [sys.executable, "-m", "tests.bench.listeners", str(server.port), str(requests), str(tokens)]
    command += ["--path", watched.stream, "--event", watched.event, "--readers", str(readers), "--rate", str(rate)]
    if server.key:
        command += ["--key", server.key]
    before = cpu(server.pid)
    client = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with Others([server.pid, client.pid]) as others:
        out, err = client.communicate(timeout=300)
    assert client.returncode == 0, err
    told = json.loads(out)
    assert (told["lost"], told["twice"], told["statuses"]) == (0, 0, {"200": len(paths)}), out[-300:]
    latencies = told["latencies"]
    return Heard(
        rate=len(paths) / told["seconds"],
        cpu_us=1e6 * (cpu(server.pid) - before) / len(paths),
        p50_ms=1e3 * latencies[len(paths) // 2],
        p99_ms=1e3 * latencies[len(paths) * 99 // 100],
        others=others.cores,
    )


def _row(  # all that a row is made of
    metric: str,
    unit: str,
    heard: dict[str, list[Heard]],
    against: str,
    goal: Goal | None,
    twin: str,
    size: Size,
) -> Row:
    mine, theirs = (_warm(heard[name], size) for name in ("ours", against))
    steady = unit == "ms"
    figure, base = (median(h.p99_ms if steady else h.rate for h in each) for each in (mine, theirs))
    spent, base_spent = (median(h.cpu_us for h in each) for each in (mine, theirs))
    return Row(
        metric,
        unit,
        ours=figure,
        against=NAMES[against],
        baseline=base,
        ratio=figure / base,
        cpu_ratio=base_spent / spent,
        goal=goal,
        others=median(h.others for h in (*mine, *theirs)),
        twin=twin,
        more={
            "cpu_us": round(spent),
            "baseline_cpu_us": round(base_spent),
            "p50_ms": round(median(h.p50_ms for h in mine), 2),
        },
        why=WHY["p99" if steady else "broadcast"] if goal else "",
    )


def _warm(rounds: Sequence[Heard], size: Size) -> Sequence[Heard]:
    """Without the first round, where there are more."""
    return rounds if len(rounds) == 1 or size.tiny else rounds[1:]
