"""The machine as a measurement sees it: a core for the server, one for the client, and what each process used."""

import os
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CORES = sorted(os.sched_getaffinity(0))
FIRST, LAST = CORES[0], CORES[-1]
TICKS = os.sysconf("SC_CLK_TCK")


def pin(core: int, pid: int = 0) -> None:
    """A process keeps to this core, with all threads it has and will have."""
    for thread in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def pinned(core: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


def cpu(pid: int) -> float:
    """Seconds of CPU a process has used, with all its threads and children."""
    return sum(_cpu_alone(each) for each in [pid, *_below(pid)])


def memory(pid: int) -> float:
    """KB that are this process's own, its children left out."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(float(line.split()[1]) for line in rollup if line.startswith("Pss:"))


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


class Others:
    """How many cores were busy with what is none of ours: `with Others(pids) as others: ...; others.cores`."""

    cores = 0.0

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids

    def __enter__(self) -> Self:
        self._began, self._busy, self._ours = time.monotonic(), _busy(), self._used()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        theirs = (_busy() - self._busy) - (self._used() - self._ours)
        self.cores = max(0.0, theirs / (time.monotonic() - self._began))

    def _used(self) -> float:
        return sum(map(cpu, self._pids)) + cpu(os.getpid())


def only_child_of(pid: int) -> int:
    """What `taskset` or a shell became the parent of, or the process itself."""
    return next(iter(_below(pid)), pid)


def run(command: Sequence[str], folder: Path) -> str:
    """What it printed."""
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def _cpu_alone(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in map(int, children.read_text().split()):
                found += [child, *_below(child)]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _busy() -> float:
    user, nice, system, _idle, _wait, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / TICKS
