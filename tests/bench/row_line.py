"""The whole line: jobs submitted over HTTP, made by the sandbox in a process of its own, told by webhook, mirrored and
paid, until a subscriber has heard of it. What the service's process spends on each job, by stage; and whether it spends
the same when a hundred thousand jobs lie about.
"""

import json
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import letters
from tests.bench.copies import multiply
from tests.bench.listening import listening
from tests.bench.machine import LAST, Others, cpu, median, pin
from tests.bench.servers import Server, endow, turn
from tests.bench.stages import alone
from tests.bench.table import FULL, Goal, Row, Size
from tests.running import Sandbox, Service, running, sandboxed
from tests.waiting import until_blocking

STAGES = {
    "accept": ("http /api/v1/jobs", "write accept"),
    "dispatch": ("jobs.dispatch", "write dispatch"),
    "door": ("http /api/webhooks/fal", "write webhook"),
    "ingest": ("jobs.ingest", "write ingest"),
    "mirror": ("jobs.mirror", "write mirror"),
    "runner": ("Runner.", "write runner"),
    "commit": ("commit",),
}
"""What of the account belongs to each; the rest is the loop, the sockets, and the readers' threads."""
PICTURE = {**letters.JOB["input"], "image_size": {"width": 1024, "height": 1024}, "seed": 7}
FEW, MANY = 100, 100_000


@dataclass(frozen=True)
class Round:
    cpu_ms: float
    rate: float


def line(size: Size, folder: Path) -> Iterator[Row]:
    """Until all of them are completed; then the same among many more."""
    few, count, report = 8 if size.tiny else FEW, size.of(200), folder / "stages.json"
    with sandboxed(folder, speed=20, program="tests.bench.grainy") as sandbox:
        assert sandbox.process
        pin(LAST, sandbox.process.pid)
        with _served(folder / "few", sandbox, BENCH_STAGES=str(report)) as service:
            with Others([]) as others:
                service.start()
                _driven(service, folder, few)
                done = _driven(service, folder, count)
                assert service.stop() == 0
            stages = _by_stage(Counter(json.loads(report.read_text())), few + count)
            yield Row(
                "whole line",
                "jobs a second",
                ours=done.rate,
                others=others.cores,
                twin=f"{count} heard to be completed, once each; one asset, one settlement and one webhook each",
                more={"jobs": count, "cpu_ms_per_job": round(done.cpu_ms, 2), "cpu_ms_by_stage": stages},
            )
        yield _summed(done, alone(folder / "alone", count, PICTURE), others)
        yield _flat(size, folder, sandbox)


def _summed(done: Round, stages: dict[str, float], others: Others) -> Row:
    whole = sum(stages.values())
    return Row(
        "line, CPU for each job",
        "ms",
        ours=done.cpu_ms,
        against="its stages, each alone",
        baseline=whole,
        ratio=done.cpu_ms / whole,
        goal=Goal(1.5, above=False),
        others=others.cores,
        twin="as above; alone, every job went through every stage",
        more={"alone_cpu_ms_by_stage": {stage: round(spent, 2) for stage, spent in stages.items()}},
    )


def _flat(size: Size, folder: Path, sandbox: Sandbox) -> Row:
    """A service that knows a hundred jobs, and one that knows a thousand times as many, in turn."""
    count, rounds = size.of(100), dict[str, list[Round]](few=[], many=[])
    with _served(folder / "hundred", sandbox) as few, _served(folder / "many", sandbox) as many, Others([]) as others:
        many.key = few.key
        few.start()
        _driven(few, folder, 8 if size.tiny else FEW)
        assert few.stop() == 0
        known = _multiplied(few, many, 3 if size.tiny else int(MANY / FEW * size.times / FULL.times))
        for service in (few, many):
            service.start()
            _driven(service, folder, max(count // 2, 8))
        for _ in range(size.rounds):
            for name, service in (("few", few), ("many", many)):
                rounds[name].append(_driven(service, folder, count))
        assert few.stop() == many.stop() == 0
    less, more = (median(r.cpu_ms for r in each) for each in rounds.values())
    return Row(
        "line, among many jobs",
        "CPU ms",
        ours=more,
        against="among few",
        baseline=less,
        ratio=more / less,
        goal=Goal(1.2, above=False),
        others=others.cores,
        twin=f"{count} in each round, completed as before",
        more={"jobs": known, "jobs_a_second": [round(median(r.rate for r in each), 1) for each in rounds.values()]},
    )


@contextmanager
def _served(folder: Path, sandbox: Sandbox, **extra: str) -> Iterator[Service]:
    folder.mkdir()
    with running(folder, speed=1.0, sandbox=sandbox, start=False, **extra) as service:
        assert service.settings
        endow(service.settings.database)
        service.arguments = ["tests.bench.ours"]
        yield service


def _multiplied(few: Service, many: Service, times: int) -> list[int]:
    """How many jobs each knows now."""
    source, target = _file(few), _file(many)
    shutil.rmtree(target.parent)
    shutil.copytree(source.parent, target.parent)
    multiply(target, times)
    return [_counted(file)["SELECT count(*) FROM jobs"] for file in (source, target)]


def _driven(service: Service, folder: Path, count: int) -> Round:
    """So many jobs from their POST to the frame that says that they are completed."""
    assert service.process
    server = Server(service.process.pid, service.port, "")
    asked = letters.job("/api/v1/jobs", service.key, input=PICTURE)
    known = _counted(_file(service))
    with listening(service.port, service.key) as heard:
        before, began = cpu(server.pid), time.monotonic()
        accepted = turn(server, [asked] * count, folder, seconds=60.0).statuses
        until_blocking(lambda: len(heard) >= count, within=120)
        seconds, spent = time.monotonic() - began, cpu(server.pid) - before
    assert accepted == {202: count}
    assert set(heard.values()) == {1}
    for query, found in _counted(_file(service)).items():
        assert found - known[query] == count, f"{query}: {found - known[query]}, not {count}"
    return Round(1e3 * spent / count, count / seconds)


def _file(service: Service) -> Path:
    assert service.settings
    return service.settings.home / "darkroom.db"


def _counted(file: Path) -> dict[str, int]:
    """What grows by one with each job."""
    queries = (
        "SELECT count(*) FROM jobs",
        "SELECT count(*) FROM jobs WHERE status = 'completed'",
        "SELECT count(*) FROM assets",
        "SELECT count(DISTINCT job) FROM assets",
        "SELECT count(*) FROM attempts",
        "SELECT count(*) FROM transfers WHERE kind = 'post'",
        "SELECT count(*) FROM events WHERE type = 'job.completed'",
    )
    with closing(sqlite3.connect(file)) as database:
        return {query: database.execute(query).fetchone()[0] for query in queries}


def _by_stage(seconds: Counter[str], count: int) -> dict[str, float]:
    """Milliseconds of CPU for each job."""
    total = seconds.pop("all")
    found = {
        stage: sum(spent for name, spent in seconds.items() if name.startswith(words))
        for stage, words in STAGES.items()
    }
    found["the rest"] = total - sum(found.values())
    return {stage: round(1e3 * spent / count, 3) for stage, spent in found.items()}
