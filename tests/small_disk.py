"""A disk so small that a test can fill it, make it larger, and take away the right to write (tmpfs; the kernel has to
let us mount it)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@dataclass(frozen=True)
class SmallDisk:
    folder: Path

    def fill(self) -> None:
        """To the last byte."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (1_000_000, 4096):
                try:
                    while True:
                        ballast.write(b"\0" * size)
                except OSError:
                    continue

    def drain(self) -> None:
        (self.folder / "ballast").unlink()

    def change(self, option: str) -> None:
        """`size=300m`, `ro`, `rw`."""
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.folder)], check=True)


@contextmanager
def small_disk(at: Path, size: str = "230m") -> Iterator[SmallDisk]:
    """Above what we want to be free, and not much above it."""
    if refused := why_not():
        pytest.skip(refused)
    at.mkdir(parents=True)
    _mount(at, size)
    try:
        yield SmallDisk(at)
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@cache
def why_not() -> str:
    """Nothing, where it works."""
    with TemporaryDirectory() as folder:
        try:
            _mount(Path(folder), "1m")
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            return f"kernel refuses to mount a small disk: {getattr(error, 'stderr', b'').decode().strip()}"
        subprocess.run(["umount", folder], check=True)
    return ""


def _mount(at: Path, size: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, check=True)
