"""The first step by hand, the rest in a task."""

import asyncio

import pytest

from app.web.drive import begin


async def test_what_never_waits_is_done_at_once() -> None:
    done = []

    async def work() -> None:
        done.append(1)

    assert begin(work()) is None
    assert done == [1]


async def test_what_waits_goes_on_where_it_stopped() -> None:
    door, done = asyncio.Event(), []

    async def work() -> None:
        done.append("before")
        await door.wait()
        done.append("between")
        await asyncio.sleep(0)
        done.append("after")

    rest = begin(work())
    assert rest is not None
    assert done == ["before"]
    asyncio.get_running_loop().call_soon(door.set)
    await rest

    assert done == ["before", "between", "after"]


async def test_what_it_waits_for_may_be_there_before_the_rest_is_awaited() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await future

    rest = begin(work())
    future.set_result(None)
    assert rest is not None
    await asyncio.wait_for(rest, 1)


async def test_an_error_comes_through_at_the_first_step_and_later() -> None:
    async def at_once() -> None:
        raise RuntimeError("at once")

    async def later() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="at once"):
        begin(at_once())
    rest = begin(later())
    assert rest is not None
    with pytest.raises(RuntimeError, match="later"):
        await rest


async def test_a_cancelled_rest_cleans_up() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(1)

    rest = begin(work())
    assert rest is not None
    task = asyncio.get_running_loop().create_task(asyncio.wait_for(rest, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert cleaned == [1]
