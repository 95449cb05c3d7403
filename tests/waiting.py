"""The one place where tests sleep: between two looks at a condition that has a deadline. An event is better still."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

BETWEEN_LOOKS = 0.01


@overload
async def until(condition: Callable[[], Awaitable[T]], within: float = ...) -> T: ...
@overload
async def until(condition: Callable[[], T], within: float = ...) -> T: ...
async def until(condition: Callable[[], Any], within: float = 5.0) -> Any:
    """Look until the condition gives something true, and give that back."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        found = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within} s: {inspect.getsource(condition).strip()}"
        await asyncio.sleep(BETWEEN_LOOKS)


def until_blocking(condition: Callable[[], T], within: float = 5.0) -> T:
    """The same for a test without a loop: a child process, a thread."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {inspect.getsource(condition).strip()}"
        time.sleep(BETWEEN_LOOKS)
    return found
