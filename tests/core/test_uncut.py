import asyncio

import pytest

from app.core.uncut import uncut


async def test_it_gives_what_the_work_comes_to() -> None:
    async def work() -> int:
        return 7

    assert await uncut(work()) == 7


async def test_a_cancellation_waits_for_the_work_and_then_goes_on() -> None:
    begun, door, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await door.wait()
        done.append(1)

    task = asyncio.get_running_loop().create_task(uncut(work()))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    door.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]


async def test_an_error_comes_through() -> None:
    async def work() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await uncut(work())
