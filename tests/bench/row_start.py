"""Before the first request: what the service's process spends on importing itself and on starting, beside the
frameworks alone, and how much memory it holds when nobody asks it anything. In seconds of CPU: importing waits for
nothing."""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from nacl.signing import SigningKey

from tests.bench.machine import Others, cpu, memory, run
from tests.bench.servers import key_set
from tests.bench.table import Goal, Row, Size
from tests.running import ROOT, Sandbox, running

FRAMEWORKS = "import starlette.applications, uvicorn, sqlmodel"
OURS = "import app.main"
MOST_MB = 100.0
WHY_IMPORT = (
    "most of what is ours are tables, models and operations, built by SQLAlchemy and pydantic; "
    "building them later would only move it to the first requests"
)


def start(size: Size, folder: Path) -> Iterator[Row]:
    """The best of several, since a disturbance only ever makes it longer."""
    tries = 1 if size.tiny else 5
    with Others([]) as others:
        bare, frameworks, ours, usage = (
            min(_spent(command) for _ in range(tries))
            for command in (["-c", "pass"], ["-c", FRAMEWORKS], ["-c", OURS], ["-m", "app", "--help"])
        )
        ready, idle = _ready(folder, tries)
    frameworks, ours, usage, ready = (each - bare for each in (frameworks, ours, usage, ready))
    for name, spent, against, baseline, bound, twin, why in (
        ("import of the web process", ours, "its frameworks alone", frameworks, 1.2, "it was imported", WHY_IMPORT),
        ("--help", usage, "importing the web process", ours, 0.5, "it printed the commands", ""),
        ("serve to /healthz", ready, "its import", ours, 2.0, "the service answered /healthz", ""),
    ):
        yield Row(
            name,
            "s of CPU",
            spent,
            against,
            baseline,
            spent / baseline,
            goal=Goal(bound, above=False),
            others=others.cores,
            twin=twin,
            more={"bare_python_s": round(bare, 3)},
            why=why,
        )
    yield Row(
        "idle memory",
        "MB",
        idle,
        f"{MOST_MB:g} MB",
        MOST_MB,
        idle / MOST_MB,
        goal=Goal(1.0, above=False),
        twin="the service answered /healthz",
    )


def _spent(arguments: list[str]) -> float:
    """Seconds of CPU of a Python that does this."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run([sys.executable, *arguments], ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ready(folder: Path, tries: int) -> tuple[float, float]:
    """Seconds of CPU from the command to the first answer, and MB then."""
    with key_set(SigningKey.generate()) as jwks:
        fal = Sandbox([], {}, folder / "fal.log", port=jwks)
        with running(folder, sandbox=fal, start=False) as service:
            spent, sizes = [], []
            for _ in range(tries):
                service.start()
                assert service.process
                spent.append(cpu(service.process.pid))
                sizes.append(memory(service.process.pid) / 1024)
                assert service.stop() == 0
            return min(spent), min(sizes)
