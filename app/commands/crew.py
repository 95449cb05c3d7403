"""`serve --processes N`: several processes behind one address. The parent binds it, forks, replaces who dies and passes
on a stop; it answers nothing itself. All accept from one socket, so a connection that waits there when one of them dies
is taken by another.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from app.lifespan import Life
from app.rules import Rules
from app.settings import Settings, SettingsError

Ready = Callable[[Life], Awaitable[None]]

_HEEDED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
_CANNOT_START = 2
_SETTLED_IN = 10.0
"""Seconds after which a death is no sign of being unable to live."""
_LATEST = 30.0
_STOPS_WITHIN = Rules().drain_within + 10.0

log = structlog.get_logger("crew")


def require_shared(settings: Settings) -> None:
    """Raises SettingsError unless several processes can be minded here, and share what is kept."""
    wants = f"{settings.processes} processes (--processes, WEB_CONCURRENCY) need"
    if not hasattr(signal, "sigtimedwait"):
        raise SettingsError(f"{wants} sigtimedwait, which this system has not (macOS, say). Use one process.")
    if settings.database_url is None:
        raise SettingsError(
            f"{wants} PostgreSQL: a SQLite file has one user. Set DARKROOM_DATABASE_URL, or use one process."
        )
    if settings.bucket is None:
        raise SettingsError(
            f"{wants} a bucket: files in a folder are one machine's. Set DARKROOM_STORAGE_URL=s3://BUCKET, or use one "
            "process."
        )


class Crew:
    """`work` answers until told to stop, and calls what it is given once it does; its value is the exit code."""

    def __init__(self, number: int, work: Callable[[Ready], int]) -> None:
        self._number = number
        self._work = work
        self._hired: dict[int, float] = {}
        self._deaths = 0
        self._hire_at = 0.0
        self._usual = signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
        self._served = mmap.mmap(-1, 1)  # shared with the children: whether any of them ever answered
        self._our_end, self._their_end = os.pipe()  # closed by the kernel when the parent is gone, however it went

    def run(self) -> int:
        """Until told to stop, or until it turns out that none can start; the exit code. Once one has answered, whoever
        cannot start is mourned like the others: the database may be away, and come back."""
        while True:
            self._fill_up()
            heard = signal.sigtimedwait(_HEEDED, self._until_hiring())
            if heard is not None and heard.si_signo != signal.SIGCHLD:
                return self._dismiss()
            for pid, code, lived in self._bury():
                if code == _CANNOT_START and not self._served[0]:
                    self._dismiss()
                    return code
                self._mourn(pid, code, lived)

    def _fill_up(self) -> None:
        while len(self._hired) < self._number and time.monotonic() >= self._hire_at:
            self._hire()

    def _until_hiring(self) -> float:
        short = len(self._hired) < self._number
        return max(self._hire_at - time.monotonic(), 0.0) if short else 3600.0

    def _hire(self) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._live()
        self._hired[pid] = time.monotonic()
        log.info("process started", child=pid)

    def _bury(self) -> list[tuple[int, int, float]]:
        """Who has ended, how, and after how many seconds."""
        ended = []
        for pid in list(self._hired):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                lived = time.monotonic() - self._hired.pop(pid)
                ended.append((pid, os.waitstatus_to_exitcode(status), lived))
        return ended

    def _mourn(self, pid: int, code: int, lived: float) -> None:
        """The second in a row that could not settle in is not replaced at once, and each further one later still."""
        self._deaths = 0 if lived >= _SETTLED_IN else self._deaths + 1
        pause = min(2.0 ** (self._deaths - 1), _LATEST) if self._deaths > 1 else 0.0
        self._hire_at = time.monotonic() + pause
        log.warning("process ended, another takes its place", child=pid, code=code, lived=round(lived, 1), after=pause)

    def _dismiss(self) -> int:
        """Have all end; 0 when all did so in good order. One that was only starting dies of the signal itself."""
        codes = []
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + _STOPS_WITHIN
        while self._hired:
            codes += [code for _, code, _ in self._bury()]
            if self._hired and signal.sigtimedwait({signal.SIGCHLD}, max(deadline - time.monotonic(), 0.1)) is None:
                self._tell(signal.SIGKILL)
        return 0 if set(codes) <= {0, -signal.SIGTERM} else 1

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._hired:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    # In the child

    def _live(self) -> None:
        """Does not return. In a group of its own: Ctrl-C is for the parent, which passes it on."""
        code = 1
        try:
            os.setpgid(0, 0)
            os.close(self._their_end)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._usual)
            code = self._work(self._begin)
        except SettingsError as error:
            print(f"darkroom: {error}", file=sys.stderr)
            code = _CANNOT_START
        except Exception:
            log.exception("process failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    async def _begin(self, _life: Life) -> None:
        self._served[0] = 1
        asyncio.get_running_loop().add_reader(self._our_end, self._orphaned)

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(self._our_end)
        signal.raise_signal(signal.SIGTERM)
