"""People of a simulated history: they ask for pictures, one or many, ask again when nobody answers, change their minds,
and remember what they were told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from app.assets.keep import NewAsset, insert_asset, keep
from app.assets.model import AssetKind
from app.core.errors import IllegalMove, Problem
from app.core.idempotency import IdempotencyKey
from app.core.principal import Principal, Scope
from app.jobs import api, runs_api
from app.jobs.accept import JobRequest
from app.jobs.accept_run import RunRequest
from app.jobs.model import Policy
from app.services import Services
from tests.proof.virtual import Gone

WORKSPACE = "ws_simulated"
ME = Principal(WORKSPACE, "key_simulated", frozenset(Scope))
_PATIENCE = 400
"""Times that somebody asks again, some seconds apart: longer than anything is away."""


class Asked(Protocol):
    """How a person reaches the service: raises `Gone` when it is not there."""

    async def ask(self, work: Callable[[Services], Awaitable[Any]]) -> Any: ...


@dataclass
class Memory:
    """What people were told: the answer to each of their keys, and every job and run that was acknowledged."""

    jobs: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Person:
    number: int
    service: Asked
    dice: random.Random
    memory: Memory
    pictures: Path

    async def live(self, begin: float) -> None:
        await asyncio.sleep(self.dice.uniform(0, begin))
        await self.dice.choices((self._wants_one, self._wants_many), (3, 2))[0]()

    async def _wants_one(self) -> None:
        references = [await self._upload()] if self.dice.random() < 0.2 else []
        request = self._request(references)
        job = (await self._insist(lambda s, key: api.create_job(s, ME, request, key, None))).value
        self.memory.jobs.add(job.id)
        if self.dice.random() < 0.3:
            await self._pause()
            await self._try(lambda s: api.cancel(s, ME, job.id))
        elif self.dice.random() < 0.3:
            await asyncio.sleep(self.dice.uniform(0, 2000))
            if again := await self._try(lambda s: api.retry_job(s, ME, job.id, None)):
                self.memory.jobs.add(again.value.id)

    async def _wants_many(self) -> None:
        request = RunRequest(
            name=f"run {self.number}",
            policy=self.dice.choice(tuple(Policy)),
            jobs=[self._request([]) for _ in range(self.dice.randint(1, 3))],
        )
        run = (await self._insist(lambda s, key: runs_api.create_run(s, ME, request, key))).value
        self.memory.runs.add(run.id)
        for _ in range(self.dice.choice((0, 1, 2))):
            await self._pause()
            await self._interferes(run.id)
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.uniform(60, 4000))
            await self._try(lambda s: runs_api.retry_failed(s, ME, run.id, None))

    async def _interferes(self, run: str) -> None:
        deed = self.dice.choice((runs_api.pause_run, runs_api.pause_run, runs_api.cancel_run))
        await self._try(lambda s: deed(s, ME, run))
        if deed is runs_api.pause_run:
            await asyncio.sleep(self.dice.choice((1.0, 400.0, 4000.0)) * self.dice.random())
            last = self.dice.choices((runs_api.resume_run, runs_api.cancel_run), (4, 1))[0]
            await self._stubborn(lambda s: last(s, ME, run))

    def _request(self, references: list[str]) -> JobRequest:
        wish = {"prompt": f"number {self.number}", "num_images": self.dice.choice((1, 1, 1, 2))}
        if self.dice.random() < 0.3:
            wish["prompt"] = "the same for everybody"
        return JobRequest(
            model="fal-ai/nano-banana/edit" if references else "fal-ai/flux/schnell",
            input=wish,
            reference_images=references,
            max_attempts=self.dice.choice((1, 3, 3, 5)),
            deadline_seconds=self.dice.choice((None, None, None, self.dice.randint(5, 1000))),
        )

    async def _upload(self) -> str:
        """A picture of theirs; what the door for uploads does, without its reading of forms."""
        file = self.pictures / f"{self.number}.jpg"
        file.write_bytes(self.dice.randbytes(32))

        async def uploaded(services: Services) -> str:
            new = NewAsset(services.ids.new("asset"), WORKSPACE, AssetKind.UPLOAD, filename="mine.jpg")
            row = await keep(services, file, new)
            await services.db.write(lambda tx: insert_asset(tx, row))
            return row.id

        return str(await self._stubborn(uploaded))

    # Asking

    async def _pause(self) -> None:
        await asyncio.sleep(self.dice.choice((0.01, 1.0, 20.0, 400.0)) * self.dice.random())

    async def _try(self, work: Callable[[Services], Awaitable[Any]]) -> Any:
        """Once; what comes of it may be nothing."""
        try:
            return await self.service.ask(work)
        except (Gone, Problem):
            return None

    async def _stubborn(self, work: Callable[[Services], Awaitable[Any]]) -> Any:
        """Again and again, until there is an answer that is not "later". That it cannot be is an answer too."""
        for _ in range(_PATIENCE):
            try:
                return await self.service.ask(work)
            except Gone:
                pass
            except IllegalMove:
                return None
            except Problem as problem:
                if not problem.retryable:
                    raise
            await asyncio.sleep(self.dice.uniform(5, 60))
        raise AssertionError("nobody can have so much patience")

    async def _insist(self, work: Callable[[Services, IdempotencyKey], Awaitable[Any]]) -> Any:
        """With an Idempotency-Key; perhaps once more for no reason, and then the answer must be the same."""
        key = IdempotencyKey(f"key {self.number}", "the same")
        answer = await self._stubborn(lambda services: work(services, key))
        if self.dice.random() < 0.2:
            again = await self._stubborn(lambda services: work(services, key))
            if again.value.id != answer.value.id:
                self.memory.wrong.append(f"key {self.number}: first {answer.value.id}, then {again.value.id}")
        return answer
