"""`serve --processes N`: several behind one address, as real processes. About 20 s."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.commands.crew import require_shared
from app.settings import Settings, SettingsError
from tests.contracts.moto import moto
from tests.running import ROOT, SECRET, Service, clean_environment, log_lines, running, schema_of_its_own
from tests.waiting import until_blocking

NEEDED = {"DARKROOM_SECRET": SECRET, "DARKROOM_FAL_URL": "http://127.0.0.1:9"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with (
        schema_of_its_own() as database,
        moto(strict=False) as s3,
        running(tmp_path, database=database, WEB_CONCURRENCY="2", **s3.environment()) as service,
    ):
        yield service


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--processes", "2"], {}, "PostgreSQL"),
        ([], {"WEB_CONCURRENCY": "2"}, "WEB_CONCURRENCY"),
        (["--processes", "2"], {"DARKROOM_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}, "s3://BUCKET"),
    ],
)
def test_several_processes_are_refused_where_they_cannot_share(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    refused = _serve(tmp_path, *arguments, **environment)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr


def test_one_that_dies_is_replaced_and_the_others_answer_meanwhile(service: Service) -> None:
    with service.client() as client:
        before = until_blocking(lambda: _children(service, 2))
        os.kill(before[0], signal.SIGKILL)
        assert client.get("/api/v1/me").status_code == 200
        after = until_blocking(lambda: _children(service, 2) if before[0] not in _children(service, 0) else [])
        assert before[1] in after
    with service.client() as client:
        os.kill(before[1], signal.SIGKILL)
        until_blocking(lambda: _answers(client), within=20)
    assert service.stop() == 0
    assert "Traceback" not in service.text()


def test_a_stop_is_passed_on_once_and_an_orphan_ends_by_itself(service: Service) -> None:
    children = until_blocking(lambda: _children(service, 2))
    assert service.stop() == 0
    assert not any(_lives(child) for child in children)
    before = _serving(service)
    service.start()
    until_blocking(lambda: _serving(service) == before + 2, within=20)
    children = _children(service, 2)
    service.kill()
    until_blocking(lambda: not any(_lives(child) for child in children), within=25)


def test_when_none_can_start_it_says_why_and_ends(tmp_path: Path) -> None:
    with schema_of_its_own() as database, moto(strict=False) as s3:
        given = {"DARKROOM_DATABASE_URL": database, **s3.environment()}
        refused = _serve(tmp_path, "--processes", "2", "--port", "0", **given)
        assert refused.returncode == 2
        assert "migrate" in refused.stderr
        assert "Traceback" not in refused.stderr


DEATHS = """
import asyncio, os, signal, sys
from pathlib import Path
from app.commands.crew import Crew
from app.settings import SettingsError

def live(ready):
    lives = Path(sys.argv[1])
    with lives.open("a") as file:
        file.write(".")
    match len(lives.read_text()):
        case 1:
            asyncio.run(ready(None))
            return 1
        case 2:
            raise SettingsError("The database is away.")
    os.kill(os.getppid(), signal.SIGTERM)
    signal.pause()

sys.exit(Crew(1, live).run())
"""


def test_once_one_has_answered_who_cannot_start_is_replaced_as_well(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    command = [sys.executable, "-c", DEATHS, str(lives)]
    crew = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert "The database is away." in crew.stderr
    assert (crew.returncode, len(lives.read_text())) == (0, 3), crew.stderr


def test_a_system_that_cannot_mind_several_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "sigtimedwait")
    with pytest.raises(SettingsError, match="macOS"):
        require_shared(Settings(processes=2))


def _serve(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = clean_environment({**NEEDED, "DARKROOM_DATA": str(folder), **environment})
    command = [sys.executable, "-m", "app", "serve", *arguments]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=60, check=False)


def _serving(service: Service) -> int:
    """How many processes have said that they serve, up to now."""
    return sum(line["event"] == "serving" for line in log_lines(service))


def _children(service: Service, least: int) -> list[int]:
    """Its processes; none unless there are so many."""
    assert service.process
    pid = service.process.pid
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found if len(found) >= least else []


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
