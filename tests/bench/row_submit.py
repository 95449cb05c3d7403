"""What handing one job to fal costs: our adapter beside stock fal-client, both against a fal that does nothing, which
sees the same requests from both. `python -m tests.bench.row_submit VARIANT PORT COUNT IN_FLIGHT` is one round.
"""

import asyncio
import json
import resource
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from app.commands.loop import run as run_loop
from tests.bench import letters
from tests.bench.machine import FIRST, Others, median, pinned, run
from tests.bench.stubs import said, stub
from tests.bench.table import Goal, Row, Size
from tests.running import ROOT

WEBHOOK = "https://darkroom.example/api/webhooks/fal/att_01jd0000000000000000000000/1.0123456789abcdef0123456789abcdef"
KEPT = {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 259200}'}
KEY = "key-id:key-secret"
WARM = 100
IN_FLIGHT = {64: Goal(0.25, above=False), 8: None}

Post = Callable[[dict[str, Any]], Awaitable[object]]
Close = Callable[[], Awaitable[None]]


def submit(size: Size, _folder: Path) -> Iterator[Row]:
    """CPU of the process that submits, by how many submissions are under way."""
    count = size.of(2000)
    with stub("fal") as port:
        for in_flight, goal in IN_FLIGHT.items():
            yield _compared(port, size, count, in_flight, goal)


def _compared(port: int, size: Size, count: int, in_flight: int, goal: Goal | None) -> Row:
    spent: dict[str, list[float]] = {"ours": [], "stock": []}
    heard: dict[str, list[dict[str, Any]]] = {"ours": [], "stock": []}
    with Others([]) as others:
        for _ in range(size.rounds):
            for variant, each in spent.items():
                given = [variant, str(port), str(count), str(in_flight)]
                command = [sys.executable, "-m", "tests.bench.row_submit", *given]
                each.append(1e6 * float(run(pinned(FIRST, command), ROOT)) / count)
                heard[variant].append(said(port))
    assert heard["ours"] == heard["stock"], "the requests differ"
    assert all(each["posts"] == each["different"] == count + WARM for each in heard["ours"])
    ours, stock = median(spent["ours"]), median(spent["stock"])
    return Row(
        f"submit, {in_flight} in flight",
        "CPU us",
        ours=ours,
        against="stock fal-client",
        baseline=stock,
        ratio=ours / stock,
        cpu_ratio=stock / ours,
        goal=goal,
        others=others.cores,
        twin=f"{count + WARM} calls were as many POSTs, the same ones from both",
    )


async def _round(variant: str, port: int, count: int, in_flight: int) -> float:
    """Seconds of CPU for so many submissions, after a few to warm up."""
    post, close = _ours(port) if variant == "ours" else _stock(port)
    await _each(post, range(WARM), in_flight)
    before = _cpu()
    await _each(post, range(WARM, WARM + count), in_flight)
    spent = _cpu() - before
    await close()
    return spent


async def _each(post: Post, numbers: range, in_flight: int) -> None:
    coming = iter(numbers)

    async def worker() -> None:
        for number in coming:
            await post({**letters.JOB["input"], "seed": number})

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def _ours(port: int) -> tuple[Post, Close]:
    from app.adapters.fal import FalProvider
    from app.ports import Accepted

    provider = FalProvider(KEY, origin=f"http://127.0.0.1:{port}")

    async def post(arguments: dict[str, Any]) -> None:
        answer = await provider.submit(letters.JOB["model"], arguments, webhook_url=WEBHOOK, start_timeout=600)
        assert isinstance(answer, Accepted)

    return post, provider.close


def _stock(port: int) -> tuple[Post, Close]:
    import fal_client

    vars(fal_client.client)["QUEUE_URL_FORMAT"] = f"http://127.0.0.1:{port}/"
    client = fal_client.AsyncClient(key=KEY)
    headers = {**KEPT, "Accept-Encoding": "identity", "X-Fal-Request-Start-Timeout": "600.0"}

    async def post(arguments: dict[str, Any]) -> None:
        endpoint, copied = letters.JOB["model"], dict(headers)
        answer = await client.submit(endpoint, arguments, webhook_url=WEBHOOK, start_timeout=600, headers=copied)
        assert answer.request_id

    async def close() -> None:
        await (await client._client).aclose()

    return post, close


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    chosen, *numbers = sys.argv[1:]
    print(json.dumps(run_loop(_round(chosen, *map(int, numbers)))))
