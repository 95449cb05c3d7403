"""What a program asks of its kernel, in order (strace; the kernel has to let us look)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_ATTACHED = "attached"


@contextmanager
def followed(pid: int, calls: str, file: Path) -> Iterator[None]:
    """The calls that a running program makes meanwhile, in all its threads, into a file of a line each. What it opened
    is named, and of what it reads and writes the first bytes are shown."""
    command = ["strace", "-f", "-y", "-s", "64", "-e", f"trace={calls}", "-e", "signal=none", "-o", str(file)]
    with subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr
        try:
            said = strace.stderr.readline()
            assert _ATTACHED in said, said
            yield
        finally:
            strace.terminate()  # it lets go of the program first


@cache
def why_not() -> str:
    """Nothing, where it works."""
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program,
    ):
        try:
            with followed(program.pid, "read", Path(folder, "calls")):
                program.communicate(b"\n")
        except FileNotFoundError:
            return "strace is not installed"
        except AssertionError as refusal:
            program.communicate(b"\n")
            return f"kernel refuses to show what a program asks of it: {refusal}"
    return ""
