"""Places to die at."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.failpoints import Failpoints
from tests.running import ROOT, log_lines, running


class Port:
    can = True

    async def call(self, word: str) -> str:
        return word.upper()

    async def stream(self) -> AsyncIterator[int]:
        yield 1
        yield 2

    def now(self, word: str) -> str:
        return word


async def test_each_side_of_each_call_is_a_point(tmp_path: Path) -> None:
    points = Failpoints(None, tmp_path / "log")
    port = points.watch("Port", Port())
    assert await port.call("a") == "A"
    assert [number async for number in port.stream()] == [1, 2]
    assert port.now("b") == "b"
    assert port.can is True
    assert (tmp_path / "log").read_text().split() == [
        f"Port.{name}:{side}" for name in ("call", "stream", "now") for side in ("before", "after")
    ]


def test_without_a_setting_nothing_stands_between() -> None:
    port = Port()
    points = Failpoints(None, None)
    assert points.watch("Port", port) is port
    assert not points.active


@pytest.mark.parametrize(("spec", "passes"), [("a.b:before", 1), ("a.b:before:1", 1), ("a.b:before:3", 3)])
def test_the_process_dies_at_the_nth_hit(spec: str, passes: int, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from app.failpoints import Failpoints
points = Failpoints({spec!r}, Path({str(tmp_path / "log")!r}))
for _ in range(5):
    points.probe("another")
    points.probe("a.b:before")
"""
    died = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert died.returncode == -9
    assert (tmp_path / "log").read_text().count("a.b:before") == passes


def test_a_process_stands_still_there_until_it_is_woken(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from app.failpoints import Failpoints
points = Failpoints("freeze a.b:before:2", Path({str(tmp_path / "log")!r}))
for _ in range(3):
    points.probe("a.b:before")
"""
    frozen = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    stopped = os.waitid(os.P_PID, frozen.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert stopped
    assert stopped.si_code == os.CLD_STOPPED
    assert (tmp_path / "log").read_text().count("a.b:before") == 2
    frozen.send_signal(signal.SIGCONT)
    assert frozen.wait() == 0
    assert (tmp_path / "log").read_text().count("a.b:before") == 3


def test_a_service_lists_its_points_and_dies_at_one(tmp_path: Path) -> None:
    body = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a lighthouse"}}
    log = tmp_path / "points"
    with running(tmp_path, speed=20, DARKROOM_FAILPOINT_LOG=str(log)) as service:
        with service.client() as client:
            job = client.post("/api/v1/jobs", json=body, headers={"Prefer": "wait=30"}).json()
            assert job["status"] == "completed"
        names = set(log.read_text().split())
        assert {"Provider.submit:before", "Provider.submit:after", "Blobs.put:before", "Bus.nudge:after"} <= names
        assert any(name.endswith(":before-commit") for name in names)
        service.stop()
        service.start(DARKROOM_FAILPOINT="Provider.submit:before")
        with service.client() as client:
            lost = client.post("/api/v1/jobs", json=body).json()
        assert service.wait() == -9
        service.start(DARKROOM_FAILPOINT="")
        with service.client() as client:
            assert client.get(f"/api/v1/jobs/{lost['id']}").status_code == 200
        assert not [line for line in log_lines(service) if line["level"] == "critical"]
