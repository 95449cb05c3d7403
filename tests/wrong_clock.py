"""A clock that a test sets, for a program that is none the wiser (libfaketime)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

_LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@dataclass(frozen=True)
class WrongClock:
    """`set` moves it at once, by so much from the true time: `+1h`, `-4m`, `+0`."""

    file: Path

    @classmethod
    def at(cls, file: Path, shift: str = "+0") -> WrongClock:
        if refused := why_not():
            pytest.skip(refused)
        file.parent.mkdir(parents=True, exist_ok=True)
        clock = cls(file)
        clock.set(shift)
        return clock

    def set(self, shift: str) -> None:
        aside = self.file.with_suffix(".new")
        aside.write_text(f"{shift}\n")
        aside.replace(self.file)

    @property
    def environment(self) -> dict[str, str]:
        """For the program. The clock that cannot be set is left alone; the library's mending of waits on that clock
        makes every wait for Python's own lock end at once, and a program thirty times as slow."""
        return {
            "LD_PRELOAD": str(_LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }


@cache
def why_not() -> str:
    """Nothing, where it works."""
    if _LIBRARY is None:
        return "libfaketime is not installed"
    said = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env={"LD_PRELOAD": str(_LIBRARY), "FAKETIME": "@2000-01-01 00:00:00"},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if said.stdout[:3] in ("946", "947") else f"libfaketime does not work here: {said.stderr[:200]}"
