"""Eight programs that do the same thing at the same moment: started once, set off together for each round."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from app.services import Services
from app.settings import Settings
from app.wiring import services_of

RIVALS = 8
BASE = "http://localhost:8000"
_TOGETHER = 60.0
"""Seconds a program waits for the others before it takes them for dead."""

Strike = Callable[[Services, Any, int], Awaitable[str]]
"""What one of them does with the stake of a round; a word for how it ended."""


@dataclass(frozen=True)
class Broken(Exception):
    """One of them did not come through; what it said."""

    why: str


@dataclass(frozen=True)
class Rivals:
    lines: Sequence[Connection]

    def strike(self, strike: Strike, stakes: Sequence[Any]) -> list[list[str]]:
        """For each stake, what became of it for each of them."""
        for line in self.lines:
            line.send((strike, stakes))
        answers = [line.recv() for line in self.lines]
        if broken := [answer for answer in answers if isinstance(answer, Broken)]:
            raise broken[0]
        return [list(words) for words in zip(*answers, strict=True)]


@contextmanager
def rivals(settings: Settings, count: int = RIVALS) -> Iterator[Rivals]:
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.proof.races"])
    barrier = context.Barrier(count)
    lines: list[Connection] = []
    programs: list[Any] = []
    for number in range(count):
        mine, theirs = context.Pipe()
        program = context.Process(target=_rival, args=(number, settings, barrier, theirs), daemon=True)
        program.start()
        theirs.close()
        lines.append(mine)
        programs.append(program)
    try:
        yield Rivals(lines)
    finally:
        for line in lines:
            line.close()
        for program in programs:
            program.join(10)
            if program.is_alive():
                program.kill()


def _rival(number: int, settings: Settings, barrier: Any, line: Connection) -> None:
    """One of the programs: strikes as it is told, until nobody tells it any more."""
    with suppress(EOFError):
        asyncio.run(_strikes(number, settings, barrier, line))


async def _strikes(number: int, settings: Settings, barrier: Any, line: Connection) -> None:
    async with at(settings) as services:
        await services.db.check()  # connected, before it counts
        while True:
            strike, stakes = line.recv()
            words = []
            try:
                for stake in stakes:
                    barrier.wait(_TOGETHER)
                    words.append(await strike(services, stake, number))
            except Exception:  # noqa: BLE001  # whoever set us off is to hear of it
                barrier.abort()
                line.send(Broken(traceback.format_exc()))
            else:
                line.send(words)


@asynccontextmanager
async def at(settings: Settings) -> AsyncIterator[Services]:
    """The service's own parts on this database, with nobody to run tasks."""
    services = services_of(settings, BASE)
    await services.db.open()
    try:
        yield services
    finally:
        await services.db.close()
        for port in (services.provider, services.blobs, services.fetcher, services.darkroom):
            await port.close()
