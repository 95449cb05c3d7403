"""A service that dies often, and is born again quickly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from tests.proof.nursery import Nursery
from tests.running import Service


class Mortal(Service):
    """A service that a nursery bears. `fates` are the failpoints at which the lives to come are to end, one each."""

    nursery: Nursery
    fates: Sequence[str] = ()
    doomed: bool = False
    deaths: int = 0

    @classmethod
    def of(cls, plain: Service, nursery: Nursery) -> Mortal:
        born = cls(**{name: value for name, value in vars(plain).items() if name != "helpers"})
        born.nursery = nursery
        return born

    def start(self, **extra: str) -> None:
        environment = {**self.environment, **self.extra, **extra}
        born: Any = self.nursery.bear(self.arguments[1:], environment, self.said)
        self.process = born

    def end(self) -> None:
        if self.alive:
            self.kill()

    def live(self) -> None:
        """The next life, under the next fate if there is one."""
        fate, self.fates = next(iter(self.fates), ""), self.fates[1:]
        self.doomed = bool(fate)
        self.start(DARKROOM_FAILPOINT=fate)

    def revive(self) -> None:
        """Start it again if it has died of its fate."""
        if not self.alive:
            assert self.doomed, f"it died again, by itself:\n{self.text()[-3000:]}"
            self.deaths += 1
            self.live()

    def answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False
