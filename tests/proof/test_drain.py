"""Stopping under load: a stop that was asked for ends with code 0 within 20 seconds, readers are told when to come
back, and whatever was acknowledged before is there afterwards and comes to its end. Also when it is not waited for.

Usual time: 30 s.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.proof.both_sides import examine, until_quiet
from tests.running import Service, running
from tests.subscriber import Subscription, subscribed
from tests.waiting import until

SPEED = 60.0
READERS, CUSTOMERS = 20, 4
LOAD = 40
"""So many jobs are acknowledged before the signal comes."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path, speed=SPEED) as service:
        yield service


async def test_a_stop_under_load_is_orderly_and_loses_nothing(service: Service) -> None:
    async with _readers(service) as readers, _customers(service) as acknowledged:
        await until(lambda: len(acknowledged) >= LOAD, within=30)
        _signal(service, signal.SIGTERM)
        for reader in readers:
            await reader.until_over(within=20)
        assert all(reader.ended_well for reader in readers)
        assert all(_told_when_to_come_back(reader) for reader in readers)
        assert len({reader.source.retry for reader in readers}) > READERS // 2, "they would all come back at once"
        assert await _code(service, within=20) == 0
    assert "Traceback" not in service.text()
    await _comes_back_with(service, acknowledged)


async def test_who_is_told_to_come_back_misses_nothing(service: Service) -> None:
    async with _readers(service, number=1) as [reader], _customers(service) as acknowledged:
        await until(lambda: len(acknowledged) >= LOAD // 4, within=30)
        _signal(service, signal.SIGTERM)
        await reader.until_over(within=20)
        assert await _code(service, within=20) == 0
    service.start()
    await asyncio.to_thread(until_quiet, service, 60)
    before = reader.source.events
    path, headers = "/api/v1/events", {"Authorization": f"Bearer {service.key}", "Accept": "text/event-stream"}
    async with subscribed(service.port, path, headers=headers, last_id=reader.source.last_id) as again:
        newest = await _newest(service)
        while int(again.source.last_id or 0) < newest:
            await again.more()
    numbers = [int(heard.id) for heard in (*before, *again.source.events) if heard.id]
    assert numbers == list(range(numbers[0], newest + 1))


async def test_a_second_signal_does_no_harm(service: Service) -> None:
    async with _customers(service) as acknowledged:
        await until(lambda: len(acknowledged) >= LOAD, within=30)
        _signal(service, signal.SIGTERM)
        _signal(service, signal.SIGTERM)
        assert await _code(service, within=20) == 0
    await _comes_back_with(service, acknowledged)


async def test_a_kill_in_the_middle_of_the_stop_loses_nothing(service: Service) -> None:
    async with _readers(service, number=1) as [reader], _customers(service) as acknowledged:
        await until(lambda: len(acknowledged) >= LOAD, within=30)
        await _fal(service, "_pause", mode="hang")  # what is in hand cannot end, so the stop takes its time
        some = len(acknowledged)
        await until(lambda: len(acknowledged) > some, within=10)
        _signal(service, signal.SIGTERM)
        await reader.until_over(within=20)
        assert service.alive
        service.kill()
    await _fal(service, "_resume")
    await _comes_back_with(service, acknowledged)


async def test_what_hangs_does_not_hold_up_the_stop(service: Service) -> None:
    async with _customers(service) as acknowledged:
        await _fal(service, "_pause", mode="hang")
        await until(lambda: len(acknowledged) >= LOAD, within=30)
        _signal(service, signal.SIGTERM)
        assert await _code(service, within=20) == 0
    await _fal(service, "_resume")
    await _comes_back_with(service, acknowledged)


@asynccontextmanager
async def _readers(service: Service, number: int = READERS) -> AsyncIterator[list[Subscription]]:
    """Streams that are open and have begun."""
    headers = {"Authorization": f"Bearer {service.key}", "Accept": "text/event-stream"}
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(subscribed(service.port, "/api/v1/events?after=0", headers=headers))
            for _ in range(number)
        ]


@asynccontextmanager
async def _customers(service: Service) -> AsyncIterator[set[str]]:
    """They ask for one picture after the other for as long as they are answered; what was acknowledged."""
    acknowledged: set[str] = set()
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(_ask(service, acknowledged)) for _ in range(CUSTOMERS)]
        yield acknowledged
        for customer in asking:
            customer.cancel()


async def _ask(service: Service, acknowledged: set[str]) -> None:
    job = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a gate", "image_size": {"width": 64, "height": 64}}}
    async with _client(service) as client:
        while True:
            try:
                answer = await client.post("/api/v1/jobs", json=job)
            except httpx.TransportError:
                return
            if answer.status_code == 503:
                assert "retry-after" in answer.headers
                return
            assert answer.status_code == 202, answer.text
            acknowledged.add(answer.json()["id"])


async def _comes_back_with(service: Service, acknowledged: set[str]) -> None:
    """Everything acknowledged is there after a restart, and comes to its end."""
    service.start()
    await asyncio.to_thread(until_quiet, service, 60)
    async with _client(service) as client:
        ends = [(await client.get(f"/api/v1/jobs/{job}")).json().get("status") for job in acknowledged]
    assert set(ends) == {"completed"}
    verdict = await asyncio.to_thread(examine, service)
    assert verdict.wrong == []
    assert verdict.looked["jobs"] >= len(acknowledged)


async def _newest(service: Service) -> int:
    async with _client(service) as client:
        page: dict[str, Any] = {"next_cursor": None, "has_more": True, "data": []}
        after = 0
        while page["has_more"]:
            answer = await client.get("/api/v1/events", params={"after": after, "limit": 200})
            page = answer.json()
            after = page["data"][-1]["seq"] if page["data"] else after
    return after


async def _fal(service: Service, what: str, **words: str) -> None:
    assert service.sandbox
    async with httpx.AsyncClient(base_url=service.sandbox.url, trust_env=False) as fal:
        (await fal.post(f"/{what}", json=words)).raise_for_status()


def _client(service: Service) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {service.key}"}
    return httpx.AsyncClient(base_url=service.base_url, headers=headers, trust_env=False, timeout=30)


def _signal(service: Service, number: int) -> None:
    assert service.process
    service.process.send_signal(number)


async def _code(service: Service, within: float) -> int:
    return await asyncio.to_thread(service.wait, within)


def _told_when_to_come_back(reader: Subscription) -> bool:
    return reader.source.retry is not None and reader.source.retry > 0
