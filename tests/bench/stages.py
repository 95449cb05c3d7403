"""The stages of the line one after the other, each alone: what a job costs in each of them when nothing else goes on.

Accept, door and follow are asked of the service while its runner rests. `python -m tests.bench.stages KIND` does all
tasks of that kind that are due, claimed as the runner claims them, while the service is away.
"""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from app.commands.loop import run as run_loop
from app.lifespan import Life
from app.sandbox.pictures.painter import Scene
from app.settings import read_settings
from app.store import tasks
from app.store.tasks import Lane, Task
from app.store.write import Tx
from app.wiring import _tags, wire
from tests.bench import letters
from tests.bench.grainy import grainy
from tests.bench.listening import listening
from tests.bench.machine import FIRST, cpu, pin
from tests.bench.servers import Server, ours, turn
from tests.bench.stubs import stub
from tests.running import SECRET, Service
from tests.waiting import until_blocking

WARM, AT_ONCE = 16, 64


def alone(folder: Path, count: int, asked: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of CPU a job, by stage."""
    folder.mkdir()
    signer, picture = SigningKey.generate(), folder / "picture.jpg"
    grainy(Scene(letters.JOB["model"], letters.PROMPT, 7, 1024, 1024)).save(picture, "JPEG", quality=90)
    with (
        stub("fal", str(picture), bytes(signer.verify_key).hex()) as fal,
        ours(folder / "stages", fal, DARKROOM_FAL_USER_ID=letters.USER) as server,
    ):
        service = server.service
        assert service
        job = letters.job("/api/v1/jobs", service.key, input=asked)
        spent = {"accept": _asked(service, [job] * (count + WARM), folder)}
        spent["dispatch"] = _handled(service, "jobs.dispatch", count)
        webhooks = [
            letters.completion(path, request_id, signer, f"http://127.0.0.1:{fal}/picture.jpg")
            for path, request_id in _attempts(service)
        ]
        service.start()
        spent["door"] = _asked(service, webhooks, folder)
        spent["ingest"] = _handled(service, "jobs.ingest", count)
        spent["mirror"] = _handled(service, "jobs.mirror", count)
        service.start()
        spent["follow"] = _followed(service, count + WARM)
    return spent


def _asked(service: Service, requests: list[bytes], folder: Path) -> float:
    """The service is stopped afterwards."""
    assert service.process
    server = Server(service.process.pid, service.port, "")
    for part in (requests[:WARM], requests[WARM:]):
        done = turn(server, part, folder, seconds=60)
        assert set(done.statuses) <= {200, 202}
        assert done.answers == len(part)
    assert service.stop() == 0
    return done.cpu_us / 1e3


def _handled(service: Service, kind: str, count: int) -> float:
    program = service.beside("tests.bench.stages", kind)
    assert program.wait(120) == 0, program.text()
    told = json.loads(program.text().splitlines()[-1])
    assert told["handled"] == count, f"{kind}: {told['handled']}, not {count}"
    return 1e3 * float(told["cpu"]) / count


def _attempts(service: Service) -> list[tuple[str, str]]:
    assert service.settings
    tags = _tags(SECRET.encode())
    with closing(sqlite3.connect(service.settings.home / "darkroom.db")) as database:
        rows = database.execute("SELECT id, request_id FROM attempts").fetchall()
    return [(f"/api/webhooks/fal/{id_}/{tags.sign(id_)}", request_id) for id_, request_id in rows]


def _followed(service: Service, count: int) -> float:
    """All that was ever told, read, encoded and sent to one reader."""
    assert service.process
    before = cpu(service.process.pid)
    with listening(service.port, service.key, after=0) as heard:
        until_blocking(lambda: len(heard) == count, within=30)
    return 1e3 * (cpu(service.process.pid) - before) / count


async def _stage(kind: str) -> dict[str, float]:
    wired = wire(read_settings(), "http://localhost")
    async with Life(wired, works=False):
        before, claimed = cpu(os.getpid()), []
        while found := await wired.services.db.write(_claim):
            claimed += found
        claiming = (cpu(os.getpid()) - before) / len(claimed)
        mine = [task for task in claimed if task.kind == kind]
        await _each(wired.handlers[kind], iter(mine[:WARM]))
        before = cpu(os.getpid())
        await _each(wired.handlers[kind], iter(mine[WARM:]))
        spent = cpu(os.getpid()) - before
        return {"handled": len(mine) - WARM, "cpu": spent + claiming * (len(mine) - WARM)}


def _claim(tx: Tx) -> list[Task]:
    until = tx.now + timedelta(minutes=5)
    lanes = (tasks.claim(tx, "me", lane, 64, now=tx.now, until=until) for lane in (Lane.LINE, Lane.NORMAL))
    return list(chain.from_iterable(lanes))


async def _each(handle: Any, coming: Iterator[Task]) -> None:
    async def hand() -> None:
        for task in coming:
            await handle(task)

    await asyncio.gather(*(hand() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    pin(FIRST)
    print(json.dumps(run_loop(_stage(sys.argv[1]))))
