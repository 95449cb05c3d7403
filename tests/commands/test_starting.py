"""How soon `serve` and `dev` answer after they were started.

The bounds are seconds on a machine that does nothing else. Tests seldom have one, so what others take is left out: the
time that the program's threads stood in the queue for a processor, as Linux counts it. What is left is what the wall
clock would show in quiet, with all waiting for the disk or for the sandbox in it; it is never taken to be less than the
processor's time. The best of a few starts counts, as a disturbance only ever makes one longer.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.running import Service, clean_environment, free_port, running
from tests.waiting import until_blocking

WARM = ""
"""`PYTHONDONTWRITEBYTECODE`, so that the disk is: what is imported was compiled by the start before."""
ASKED = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a lamp that is lit at once"}}
TRIES = 3

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the queue is read from /proc")


def test_serve_answers_within_a_second_and_a_half_also_after_a_kill(tmp_path: Path) -> None:
    with running(tmp_path, PYTHONDONTWRITEBYTECODE=WARM) as service:
        _ask(service)  # so that there is something to go on with
        took = [_started_after_a_kill(service) for _ in range(TRIES)]
        assert min(took) < 1.5, took


def test_a_second_dev_answers_within_three_seconds_and_goes_on_with_what_was_unfinished(tmp_path: Path) -> None:
    port = free_port()
    environment = clean_environment({"DARKROOM_DATA": str(tmp_path / "data"), "PYTHONDONTWRITEBYTECODE": WARM})
    dev = Service(["app", "dev", "--port", str(port)], environment, tmp_path / "dev.log", port=port)
    try:
        dev.start()
        dev.key = (tmp_path / "data" / "sandbox" / "dev-key").read_text().strip()
        job = _ask(dev)
        took = []
        for _ in range(TRIES):
            assert dev.stop() == 0
            took.append(_started(dev))
        assert min(took) < 3, took
        _gets_its_picture(dev, job)
    finally:
        if dev.alive:
            dev.kill()


def _ask(service: Service) -> str:
    with service.client() as client:
        return str(client.post("/api/v1/jobs", json=ASKED).json()["id"])


def _gets_its_picture(service: Service, job: str) -> None:
    with service.client() as client:
        until_blocking(lambda: client.get(f"/api/v1/jobs/{job}").json()["status"] == "completed", within=60)


def _started_after_a_kill(service: Service) -> float:
    service.kill()
    return _started(service)


def _started(service: Service) -> float:
    """Seconds until it answered, on a machine that does nothing else."""
    began = time.monotonic()
    service.start()
    passed = time.monotonic() - began
    assert service.process
    pid = service.process.pid
    return round(max(_ran(pid), passed - _queued(pid)), 2)


def _ran(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _queued(pid: int) -> float:
    waited = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            waited += int((thread / "schedstat").read_text().split()[1])
    return waited / 1e9
