"""What every bus keeps to. Nudges may be lost, so only the buses that keep them are asked to deliver."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from app.adapters.memory_bus import MemoryBus
from app.adapters.redis_bus import RedisBus
from app.core.errors import Unavailable
from app.ports import EVERYTHING, Bus
from tests.contracts.certificates import certificate
from tests.contracts.deaf_bus import DeafBus
from tests.contracts.redis_server import PASSWORD, RedisServer, redis_at_hand, redis_server
from tests.running import free_port
from tests.waiting import until


def redis_bus() -> RedisBus:
    return RedisBus(redis_at_hand(), f"test:{uuid.uuid4()}")


def redis_bus_without_redis() -> RedisBus:
    """Nobody is there: it hears itself all the same."""
    return RedisBus(f"redis://127.0.0.1:{free_port()}", "test")


HEARING: dict[str, Callable[[], Bus]] = {
    "memory": MemoryBus,
    "redis": redis_bus,
    "redis away": redis_bus_without_redis,
}
ALL: dict[str, Callable[[], Bus]] = {**HEARING, "deaf": DeafBus}
THERE = [name for name in ALL if name != "redis away"]


@pytest.fixture
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    bus: Bus = ALL[request.param]()
    await bus.open()
    yield bus
    await bus.close()


hearing = pytest.mark.parametrize("bus", HEARING, indirect=True)
every = pytest.mark.parametrize("bus", ALL, indirect=True)
there = pytest.mark.parametrize("bus", THERE, indirect=True)


@hearing
async def test_each_listener_hears_each_topic(bus: Bus) -> None:
    one: list[str] = []
    other: list[str] = []
    bus.listen(one.append)
    bus.listen(other.append)

    bus.nudge(["w:ws_1", "tasks"])

    await until(lambda: len(one) == len(other) == 2)
    assert set(one) == set(other) == {"w:ws_1", "tasks"}


@hearing
async def test_listeners_are_called_on_the_loop_whoever_nudges(bus: Bus) -> None:
    heard: list[tuple[str, asyncio.AbstractEventLoop]] = []
    bus.listen(lambda topic: heard.append((topic, asyncio.get_running_loop())))

    await asyncio.to_thread(bus.nudge, ["tasks"])

    assert await until(lambda: heard) == [("tasks", asyncio.get_running_loop())]


@hearing
async def test_a_nudge_is_never_heard_inside_the_call_that_gives_it(bus: Bus) -> None:
    heard: list[str] = []
    bus.listen(heard.append)

    bus.nudge(["tasks"])

    assert heard == []
    await until(lambda: heard)


@hearing
async def test_who_has_stopped_listening_hears_no_more(bus: Bus) -> None:
    gone: list[str] = []
    there: list[str] = []
    stop = bus.listen(gone.append)
    bus.listen(there.append)

    stop()
    stop()
    bus.nudge(["tasks"])

    await until(lambda: there)
    assert gone == []


@hearing
async def test_a_listener_that_fails_does_not_silence_the_others(bus: Bus) -> None:
    heard: list[str] = []

    def fails(topic: str) -> None:
        raise ValueError(topic)

    bus.listen(fails)
    bus.listen(heard.append)

    bus.nudge(["a"])
    await until(lambda: heard == ["a"])
    bus.nudge(["b"])
    await until(lambda: heard == ["a", "b"])


@hearing
async def test_a_listener_may_nudge(bus: Bus) -> None:
    heard: list[str] = []

    def echo(topic: str) -> None:
        heard.append(topic)
        if topic == "a":
            bus.nudge(["b"])

    bus.listen(echo)
    bus.nudge(["a"])

    await until(lambda: heard == ["a", "b"])


@every
async def test_a_storm_of_nudges_neither_blocks_nor_raises(bus: Bus) -> None:
    heard: set[str] = set()
    bus.listen(heard.add)

    for number in range(10_000):
        bus.nudge([f"w:{number % 100}", "tasks"])
    bus.nudge([])

    if not isinstance(bus, DeafBus):
        await until(lambda: len(heard) == 101)


@every
async def test_nudging_a_closed_bus_does_nothing(bus: Bus) -> None:
    heard: list[str] = []
    bus.listen(heard.append)
    await bus.close()

    bus.nudge(["tasks"])
    await asyncio.to_thread(bus.nudge, ["tasks"])

    assert heard == []


@there
async def test_a_bus_that_is_there_says_so(bus: Bus) -> None:
    await bus.check()


# ----------------------------------------------------------------------------------------------------------------------
# Between processes


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def several(*buses: RedisBus) -> AsyncIterator[list[Counter[str]]]:
    """What each of them hears, once all are connected."""
    heard: list[Counter[str]] = []
    async with AsyncExitStack() as stack:
        for bus in buses:
            heard.append(ear := Counter[str]())
            bus.listen(lambda topic, ear=ear: ear.update([topic]))  # type: ignore[misc]
            await bus.open()
            stack.push_async_callback(bus.close)
        for bus in buses:
            await until(lambda bus=bus: is_there(bus))  # type: ignore[misc]
        await until(lambda: all(ear[EVERYTHING] for ear in heard))
        yield heard


async def is_there(bus: Bus) -> bool:
    try:
        await bus.check()
    except Unavailable:
        return False
    return True


async def test_what_one_process_nudges_all_hear_once(server: RedisServer) -> None:
    one, other, third = (RedisBus(server.url, "ours") for _ in range(3))
    async with several(one, other, third) as heard:
        one.nudge(["w:ws_1", "tasks"])
        one.nudge(["tasks"])
        await until(lambda: all(ear["w:ws_1"] and ear["tasks"] for ear in heard))
        await _said_back_and_forth(other, third, heard)
        assert [ear["tasks"] for ear in heard] == [1, 1, 1]


async def test_two_installations_on_one_redis_do_not_hear_each_other(server: RedisServer) -> None:
    ours, same, theirs = (RedisBus(server.url, channel) for channel in ("ours", "ours", "theirs"))
    async with several(ours, same, theirs) as heard:
        ours.nudge(["tasks"])
        theirs.nudge(["w:ws_1"])
        await until(lambda: heard[1]["tasks"])
        assert "w:ws_1" not in heard[0] + heard[1]
        assert "tasks" not in heard[2]


async def test_nudges_from_threads_and_in_storms_reach_the_others(server: RedisServer) -> None:
    one, other = RedisBus(server.url, "ours"), RedisBus(server.url, "ours")
    async with several(one, other) as heard:
        for number in range(10_000):
            one.nudge([f"w:{number % 100}"])
        await asyncio.to_thread(one.nudge, ["tasks"])
        await until(lambda: len(heard[1]) == 102)
        assert sum(heard[1].values()) < 1_000


async def test_a_redis_that_comes_back_is_found_again_and_all_look_for_what_they_missed(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one, other = RedisBus(server.url, "ours"), RedisBus(server.url, "ours")
    async with several(one, other) as heard:
        server.kill()
        await until(lambda: _away(one, other))
        one.nudge(["w:while it was away"])
        await until(lambda: heard[0]["w:while it was away"])
        assert not heard[1]["w:while it was away"]
        with pytest.raises(Unavailable, match="Redis is away"):
            await one.check()
        before = [ear[EVERYTHING] for ear in heard]
        await asyncio.to_thread(server.start)
        await until(lambda: all(ear[EVERYTHING] > n for ear, n in zip(heard, before, strict=True)), within=20)
        await until(lambda: is_there(one))
        one.nudge(["w:after"])
        await until(lambda: heard[1]["w:after"])
    assert len([r for r in caplog.records if "Redis is away" in r.getMessage()]) == 2, "once for each of the two"
    assert PASSWORD not in caplog.text
    assert PASSWORD.replace(" ", "%20") not in caplog.text


async def test_a_redis_that_says_nothing_more_is_taken_for_away(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.adapters.redis_bus._QUIET", 0.2)
    bus = RedisBus(server.url, "ours")
    async with several(bus) as [heard]:
        server.freeze()
        await until(lambda: _away(bus))
        server.thaw()
        await until(lambda: is_there(bus), within=20)
        assert heard[EVERYTHING] > 1


async def test_a_quiet_redis_is_not_taken_for_away(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.adapters.redis_bus._QUIET", 0.05)
    bus = RedisBus(server.url, "ours")
    async with several(bus) as [heard]:
        await until(lambda: _pinged(bus, 5))
        assert heard[EVERYTHING] == 1


async def test_it_ends_at_once_whatever_is_under_way(server: RedisServer) -> None:
    for turns in range(60):
        bus = RedisBus(server.url, "ours")
        await bus.open()
        bus.nudge(["tasks"])
        for _ in range(turns % 10):
            await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await bus.close()


async def test_a_wrong_password_is_told_without_the_password(server: RedisServer) -> None:
    bus = RedisBus(f"redis://:{PASSWORD[::-1].replace(' ', '%20')}@127.0.0.1:{server.port}", "ours")
    await bus.open()
    try:
        await until(lambda: bus._trouble)
        with pytest.raises(Unavailable) as refused:
            await bus.check()
        assert PASSWORD[::-1] not in refused.value.detail
    finally:
        await bus.close()


async def test_over_tls_only_a_certificate_we_trust_is_believed(tmp_path: Path) -> None:
    ours, theirs = certificate(tmp_path / "ours"), certificate(tmp_path / "theirs")
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(ours.file), "--tls-key-file", str(ours.key))
    with redis_server(*tls, "--tls-auth-clients", "no", port=0) as server:
        url = server.url.replace("redis://", "rediss://").replace(":0/0", f":{port}/0")
        trusting = RedisBus(f"{url}?ssl_ca_certs={ours.file}", "ours")
        distrusting = RedisBus(f"{url}?ssl_ca_certs={theirs.file}", "ours")
        async with several(trusting):
            await distrusting.open()
            await until(lambda: distrusting._trouble)
            assert "CERTIFICATE_VERIFY_FAILED" in distrusting._trouble
            await distrusting.close()


async def _away(*buses: Bus) -> bool:
    return not any([await is_there(bus) for bus in buses])


async def _pinged(bus: RedisBus, least: int) -> bool:
    """As Redis counts them."""
    stats = await bus._redis.info("commandstats")
    return int(stats.get("cmdstat_ping", {}).get("calls", 0)) >= least


async def _said_back_and_forth(one: Bus, other: Bus, heard: list[Counter[str]]) -> None:
    """Whatever was still under way has arrived then."""
    one.nudge(["there"])
    await until(lambda: all(ear["there"] for ear in heard))
    other.nudge(["and back"])
    await until(lambda: all(ear["and back"] for ear in heard))
