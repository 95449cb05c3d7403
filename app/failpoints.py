"""Places to die at, for the tests that prove that nothing is lost: both sides of every commit, and both sides of every
call to the outside. Costs nothing unless DARKROOM_FAILPOINT or DARKROOM_FAILPOINT_LOG is set.
"""

from __future__ import annotations

import inspect
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

_FREEZE = "freeze "

Port = TypeVar("Port")


class Failpoints:
    """`spec` is NAME or NAME:N, where a name may itself hold a colon: the process kills itself when it passes that
    point for the Nth time; with `freeze ` before the name it stands still there until somebody wakes it. `log` gets the
    name of each point passed."""

    def __init__(self, spec: str | None, log: Path | None) -> None:
        place = (spec or "").removeprefix(_FREEZE)
        name, _, turn = place.rpartition(":")
        self._name, self._turn = (name, int(turn)) if turn.isdigit() else (place, 1)
        self._fate = signal.SIGKILL if place == spec else signal.SIGSTOP
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600) if log else None
        self._passed: Counter[str] = Counter()
        self._lock = Lock()

    @property
    def active(self) -> bool:
        return bool(self._name) or self._log is not None

    def probe(self, name: str) -> None:
        """We are here. Called from any thread; does not return when this is where to die."""
        with self._lock:
            self._passed[name] += 1
            if self._log is not None:
                os.write(self._log, f"{name}\n".encode())
            if name == self._name and self._passed[name] == self._turn:
                os.kill(os.getpid(), self._fate)

    def watch(self, name: str, port: Port) -> Port:
        """The port, with a point before and after each call: `Provider.submit:before`."""
        return cast("Port", _Watched(name, port, self.probe)) if self.active else port


class _Watched:
    def __init__(self, name: str, port: object, probe: Callable[[str], None]) -> None:
        self._name = name
        self._port = port
        self._probe = probe

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not inspect.ismethod(found):
            return found
        point = f"{self._name}.{name}"
        if inspect.iscoroutinefunction(found):
            return self._awaited(point, found)
        if inspect.isasyncgenfunction(found):
            return self._iterated(point, found)
        return self._called(point, found)

    def _awaited(self, point: str, method: Callable[..., Any]) -> Any:
        @wraps(method)
        async def call(*args: Any, **options: Any) -> Any:
            self._probe(f"{point}:before")
            value = await method(*args, **options)
            self._probe(f"{point}:after")
            return value

        return call

    def _iterated(self, point: str, method: Callable[..., Any]) -> Any:
        @wraps(method)
        async def call(*args: Any, **options: Any) -> AsyncIterator[Any]:
            self._probe(f"{point}:before")
            async for each in method(*args, **options):
                yield each
            self._probe(f"{point}:after")

        return call

    def _called(self, point: str, method: Callable[..., Any]) -> Any:
        @wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            self._probe(f"{point}:before")
            value = method(*args, **options)
            self._probe(f"{point}:after")
            return value

        return call
