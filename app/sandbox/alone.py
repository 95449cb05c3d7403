"""One sandbox for one folder: two would tell the same requests' fate, each at an address of its own."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 5.0
"""Seconds: one whose parent was killed a moment ago is about to end."""


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Ends the program when another one has the folder. None is a temporary folder, which nobody else knows."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor):
            sys.exit(f"another sandbox works with {folder} already")
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        else:
            return True
