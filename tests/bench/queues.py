"""Task queues that others made, drained of tasks that do nothing. `python -m tests.bench.queues huey|procrastinate ...`

Prints the seconds and the seconds of CPU it took to work off COUNT tasks that were stored before. Imports nothing of
ours, so that it runs wherever the peer is installed (`BENCH_PYTHON` names that Python).
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

PAYLOAD = {"job": "job_01jcq3z8v7e5r9t2m4k6x8b0w1", "delivery": "dlv_01jcq3z8v7e5r9t2m4k6x8b0w1"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("queue", choices=("huey", "procrastinate"))
    parser.add_argument("place", help="a file for huey, an address of PostgreSQL for procrastinate")
    parser.add_argument("count", type=int)
    given = parser.parse_args()
    drain: Callable[[str, int], tuple[float, float]] = {"huey": huey, "procrastinate": procrastinate}[given.queue]
    seconds, cpu = drain(given.place, given.count)
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


def huey(file: str, count: int) -> tuple[float, float]:
    """With a sync for each commit, as we do, and with its results kept: without them nothing says that one is done."""
    module: Any = import_module("huey")
    queue, done = module.SqliteHuey(filename=file, fsync=True, results=True, store_none=True), []

    @queue.task()  # type: ignore[untyped-decorator]
    def nothing(**given: str) -> None:
        done.append(given["job"])

    for _ in range(count):
        nothing(**PAYLOAD)
    began, cpu = time.perf_counter(), time.process_time()
    while (task := queue.dequeue()) is not None:
        queue.execute(task)
    spent = time.perf_counter() - began, time.process_time() - cpu
    assert len(done) == count == queue.storage.result_store_size()
    return spent


def procrastinate(address: str, count: int) -> tuple[float, float]:
    """As its documentation has it, 64 at a time; it records its own events."""
    return asyncio.run(_procrastinate(address, count))


async def _procrastinate(address: str, count: int) -> tuple[float, float]:
    module: Any = import_module("procrastinate")
    app, done = module.App(connector=module.PsycopgConnector(conninfo=address, min_size=8, max_size=16)), []

    @app.task(name="nothing")  # type: ignore[untyped-decorator]
    async def nothing(**given: str) -> None:
        done.append(given["job"])

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await nothing.batch_defer_async(*[PAYLOAD] * count)
        began, cpu = time.perf_counter(), time.process_time()
        await app.run_worker_async(concurrency=64, wait=False, install_signal_handlers=False)
        spent = time.perf_counter() - began, time.process_time() - cpu
        left = await app.job_manager.list_jobs_async(status="succeeded")
    assert len(done) == count == len(list(left))
    return spent


if __name__ == "__main__":
    main()
