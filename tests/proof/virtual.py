"""Time that costs nothing: an event loop whose clock jumps to whatever comes next, on which threads do not exist and
every delay is drawn from a seed. The same seed gives the same order of everything.

Programs that can die live on it too: what they have begun is theirs, and ends with them at any point.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
_DISK = 0.004
"""Seconds that whatever would be done in a thread takes at most."""


class Died(BaseException):
    """What everything a program still tries to do after its death ends with. Nobody catches it."""


class Gone(Exception):
    """The program that was asked died before it answered, or was not there."""


class Process:
    """A program: the tasks begun in its name. After its death none of them reaches the outside again."""

    def __init__(self) -> None:
        self.dead = False
        self.gone = asyncio.Event()
        self.tasks: dict[asyncio.Task[Any], None] = {}  # a set would have no order

    def die(self) -> None:
        self.dead = True
        self.gone.set()
        for task in list(self.tasks):
            task.cancel()

    def live(self) -> None:
        """Raises `Died` if it does not."""
        if self.dead:
            raise Died

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Have it done by this program, from outside. Raises `Gone`."""
        context = copy_context()
        context.run(_PROCESS.set, self)
        task = asyncio.get_running_loop().create_task(work, context=context)
        await asyncio.wait([task])
        if task.cancelled() or isinstance(task.exception(), Died):
            raise Gone
        return task.result()


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Nothing from outside ever happens on it: when nothing is ready, the next timer is due. `accidents` are errors
    that nobody was there to hear of."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.accidents: list[str] = []
        self._now = 0.0
        self._dice = dice
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[NoReturn]:
        """Instead of waiting."""
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self._now += timeout
        return []

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        """Its program is told of it."""
        task: asyncio.Task[Any] = super().create_task(coro, name=name, context=context)
        process = context.get(_PROCESS, None) if context is not None else _PROCESS.get()
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(process.tasks.pop)
            if process.dead:
                task.cancel()
        return task

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Done here, a little later."""
        future = self.create_future()
        self.call_later(self._dice.uniform(0.0, _DISK), _resolve, _PROCESS.get(), future, partial(func, *args))
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, Died):
            self.accidents.append(f"{context.get('message')}: {error!r}")

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    def _process_events(self, _events: list[NoReturn]) -> None: ...

    def _write_to_self(self) -> None: ...


def _resolve(process: Process | None, future: asyncio.Future[Any], work: Callable[[], Any]) -> None:
    """As a thread would: what was begun is done, even if nobody hears of it; unless the program died before."""
    try:
        if process is not None:
            process.live()
        result = work()
    except (Exception, Died) as error:  # noqa: BLE001  # whoever waits gets it
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


class VirtualClock:
    """`ahead` is how many seconds it is fast; a clock that is set jumps, and its monotonic side does not."""

    def __init__(self, loop: VirtualLoop, ahead: float = 0.0) -> None:
        self._loop = loop
        self.ahead = ahead

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._loop.time() + self.ahead)

    def agree_with(self, other: datetime) -> None: ...

    def monotonic(self) -> float:
        return self._loop.time()

    def after(self, seconds: float) -> datetime:
        return self.now() + timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
