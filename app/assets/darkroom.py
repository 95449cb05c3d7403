"""Where strangers' pictures are opened: cleaned here as bytes, decoded in worker processes that may die without harm.

A worker answers one question at a time over its pipes. One that takes too long is killed and replaced; one that dies is
replaced and the question is asked once more, since somebody else may have killed it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from app.assets.containers import Cleaned, clean
from app.assets.pieces import NotAPicture
from app.core.errors import StorageFull, Unavailable
from app.ports import Developed

_SCRIPT = Path(__file__).with_name("darkroom_worker.py")
_START_WITHIN = 60.0

Find = Callable[[], Awaitable[Process]]


class WorkerProcesses:
    """A `Darkroom` of at most `size` processes, each started when first needed and kept warm.

    `max_pixels` bounds what strangers send in, `made_max_pixels` what a model made: an upscaler's result may be large.
    `memory` is the address space of each in bytes; `seconds` how long a picture may take: whoever sends
    it in is answered within ten (promise I19).
    """

    def __init__(
        self,
        *,
        max_pixels: int,
        made_max_pixels: int | None = None,
        size: int = 2,
        memory: int = 1 << 30,
        seconds: float = 8.0,
    ) -> None:
        self._max_pixels = max_pixels
        self._made_max_pixels = made_max_pixels or max_pixels
        self._arguments = (str(memory), str(max(self._max_pixels, self._made_max_pixels)))
        self._seconds = seconds
        self._seats = asyncio.Semaphore(size)
        self._idle: list[Process] = []
        self._started: set[Process] = set()

    async def develop(self, source: Path, into: Path, *, made_by_ai: bool) -> Developed:
        picture, upright, thumbnail = into / "picture", into / "upright", into / "thumbnail"
        cleaned = await asyncio.to_thread(clean, source, picture, mark=made_by_ai)
        most = self._made_max_pixels if made_by_ai else self._max_pixels
        facts = await self._decoded(cleaned, picture, upright, thumbnail, most)
        if facts["turned"]:
            cleaned = await asyncio.to_thread(clean, upright, picture, mark=made_by_ai)
        return Developed(
            picture=picture,
            thumbnail=thumbnail,
            content_type=cleaned.kind.value,
            extension=cleaned.kind.extension,
            width=facts["width"],
            height=facts["height"],
            colour=facts["colour"],
            placeholder=facts["placeholder"],
            digest=cleaned.digest,
        )

    async def close(self) -> None:
        self._idle.clear()
        for worker in self._started:
            _kill(worker)
            await worker.wait()
        self._started.clear()

    async def _decoded(
        self, cleaned: Cleaned, picture: Path, upright: Path, thumbnail: Path, most: int
    ) -> dict[str, Any]:
        question = {
            "max_pixels": most,
            "source": str(picture),
            "format": cleaned.kind.name,
            "orientation": cleaned.orientation,
            "upright": str(upright),
            "thumbnail": str(thumbnail),
        }
        answer = await self._asked(question, self._warm) or await self._asked(question, self._fresh)
        if answer is None:
            raise NotAPicture("The picture is broken: it stops whatever decodes it.")
        if "refused" in answer:
            raise NotAPicture(answer["refused"])
        if "full" in answer:
            raise StorageFull
        return answer

    async def _asked(self, question: dict[str, Any], find: Find) -> dict[str, Any] | None:
        """A worker's answer, or None when it died over the question."""
        try:
            async with self._worker(find) as worker, asyncio.timeout(self._seconds):
                return await _ask(worker, question)
        except _Died:
            return None
        except TimeoutError:
            raise NotAPicture(f"The picture takes more than {self._seconds:g} seconds to decode.") from None

    @asynccontextmanager
    async def _worker(self, find: Find) -> AsyncIterator[Process]:
        """A worker for one question. It stays warm if it answered, and is gone if the asking was broken off."""
        async with self._seats:
            worker = await find()
            try:
                yield worker
            except BaseException:
                _kill(worker)
                raise
            self._idle.append(worker)

    async def _warm(self) -> Process:
        while self._idle:
            worker = self._idle.pop()
            if worker.returncode is None:
                return worker
        return await self._fresh()

    async def _fresh(self) -> Process:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(_SCRIPT), *self._arguments, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}
        )
        self._started = {worker, *(other for other in self._started if other.returncode is None)}
        try:
            async with asyncio.timeout(_START_WITHIN):
                await _hear(worker)
        except (_Died, TimeoutError):
            _kill(worker)
            raise Unavailable("The process that decodes pictures does not start.") from None
        except BaseException:
            _kill(worker)
            raise
        return worker


class _Died(Exception):
    """The worker went away instead of answering."""


async def _ask(worker: Process, question: dict[str, Any]) -> dict[str, Any]:
    assert worker.stdin is not None
    with suppress(ConnectionError):
        worker.stdin.write(json.dumps(question).encode() + b"\n")
        await worker.stdin.drain()
    return await _hear(worker)


async def _hear(worker: Process) -> dict[str, Any]:
    assert worker.stdout is not None
    line = await worker.stdout.readline()
    if not line.endswith(b"\n"):
        raise _Died
    answer: dict[str, Any] = json.loads(line)
    return answer


def _kill(worker: Process) -> None:
    """`Process.kill` would first reap a process that has died, behind the back of the loop that waits for it."""
    if worker.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
