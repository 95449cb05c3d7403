"""`serve`, `work` and `migrate` as real processes."""

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.running import ROOT, Service, clean_environment, free_port, log_lines, running, schema_of_its_own
from tests.waiting import until_blocking


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    if request.param == "sqlite":
        with running(tmp_path) as service:
            yield service
    else:
        with schema_of_its_own() as database, running(tmp_path, database=database) as service:
            yield service


def darkroom(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment(environment), capture_output=True, text=True, timeout=60, check=False
    )


def test_it_is_ready_and_a_stop_that_was_asked_for_ends_with_code_0(service: Service) -> None:
    with service.client() as client:
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert all(check["ok"] for check in ready.json()["checks"].values())
        assert client.get("/api/v1/me").json()["workspace"]["kind"] == "test"
    assert service.stop() == 0
    assert "Traceback" not in service.text()


def test_the_key_works_again_after_a_kill_and_a_restart(service: Service) -> None:
    service.kill()
    service.start()
    with service.client() as client:
        assert client.get("/api/v1/me").status_code == 200


def test_a_second_one_on_the_same_folder_is_refused_in_words(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        second = service.beside("app", "serve", "--port", "0")
        assert second.wait() == 2
        assert "Another process works with" in second.text()
        assert "Traceback" not in second.text()
        with service.client() as client:
            assert client.get("/api/v1/me").status_code == 200


def test_the_workers_beside_it_share_a_postgresql_database(tmp_path: Path) -> None:
    with (
        schema_of_its_own() as database,
        running(tmp_path, database=database, DARKROOM_RUNNER="none") as service,
    ):
        worker = service.beside("app", "work")
        until_blocking(lambda: "working" in worker.text(), within=20)
        assert worker.stop() == 0


def test_a_worker_with_a_port_tells_how_its_work_goes(tmp_path: Path) -> None:
    """On SQLite it is alone, so the job is accepted before it comes."""
    port = free_port()
    with running(tmp_path, speed=50, DARKROOM_RUNNER="none") as service:
        body = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a watchtower"}}
        with service.client() as client:
            assert client.post("/api/v1/jobs", json=body).status_code == 202
        assert service.stop() == 0
        worker = service.beside("app", "work", "--host", "127.0.0.1", "--port", str(port))
        until_blocking(lambda: _alive(port), within=20)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as machine:
            until_blocking(lambda: 'jobs_ended_total{code="",status="completed"} 1.0' in _measured(machine), within=30)
            assert machine.get("/readyz").status_code == 200
            assert machine.get("/version").json()["world"] == "sandbox"
            assert machine.get("/api/v1/me").status_code == 404
        assert worker.stop() == 0
        assert "Traceback" not in worker.text()


def test_a_database_without_tables_is_refused_with_the_way_out(tmp_path: Path) -> None:
    refused = darkroom("serve", "--port", "0", DARKROOM_DATA=str(tmp_path), DARKROOM_FAL_URL="http://127.0.0.1:9")
    assert refused.returncode == 2
    assert "Run: darkroom migrate" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_migrate_is_enough_to_serve(tmp_path: Path) -> None:
    environment = {"DARKROOM_DATA": str(tmp_path), "DARKROOM_FAL_URL": "http://127.0.0.1:9"}
    for new in (True, False):
        migrated = darkroom("migrate", **environment)
        assert migrated.returncode == 0, migrated.stderr
        assert f"the sandbox world in {tmp_path / 'sandbox'}." in migrated.stdout
        assert ("It was made just now" in migrated.stdout) == new
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", str(port)], cwd=ROOT, env=clean_environment(environment)
    )
    try:
        until_blocking(lambda: _alive(port), within=20)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_sandboxs_database_is_not_used_for_real_pictures(tmp_path: Path) -> None:
    with schema_of_its_own() as database, running(tmp_path, database=database) as service:
        service.stop()
        environment = {name: value for name, value in service.environment.items() if "FAL" not in name}
        refused = darkroom("serve", "--port", "0", **_ours(environment) | {"FAL_KEY": "k", "DARKROOM_TIME_FACTOR": "1"})
        assert refused.returncode == 2
        assert "came from the sandbox fal" in refused.stderr


def test_serve_without_a_key_says_where_to_get_one(tmp_path: Path) -> None:
    refused = darkroom("serve", "--port", "0", DARKROOM_DATA=str(tmp_path))
    assert refused.returncode == 2
    assert "FAL_KEY is not set" in refused.stderr


def test_requests_are_logged_once_with_their_id(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        with service.client() as client:
            request_id = client.get("/api/v1/me").headers["x-request-id"]
        service.stop()
        lines = [line for line in log_lines(service) if line.get("request_id") == request_id]
        assert [line["route"] for line in lines if line["event"] == "request"] == ["/api/v1/me"]
        assert service.key not in service.text()


def test_openapi_prints_the_document() -> None:
    printed = darkroom("openapi")
    assert printed.returncode == 0
    assert "/api/v1/me" in json.loads(printed.stdout)["paths"]
    assert printed.stdout == darkroom("openapi").stdout


def test_help_is_quick_and_names_every_command() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    helped = darkroom("--help")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1
    for name in ("dev", "serve", "work", "migrate", "sandbox", "doctor", "admin", "openapi", "submit", "jobs", "watch"):
        assert name in helped.stdout
    for name in ("serve", "dev", "work", "migrate", "openapi"):
        assert darkroom(name, "--help").returncode == 0


def _alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _measured(machine: httpx.Client) -> str:
    return machine.get("/metrics").text


def _ours(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("DARKROOM_")}


def test_a_stop_with_streams_and_work_under_way_ends_in_time_and_loses_nothing(tmp_path: Path) -> None:
    body = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a tide going out"}}
    with running(tmp_path, speed=2) as service:
        with service.client() as client:
            jobs = [client.post("/api/v1/jobs", json=body).json()["id"] for _ in range(5)]
            with client.stream("GET", "/api/v1/events?after=0", headers={"Accept": "text/event-stream"}) as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith(":")
                assert service.process
                began = time.monotonic()
                service.process.send_signal(signal.SIGTERM)
                rest = list(lines)
        assert service.wait() == 0
        assert time.monotonic() - began < 20
        assert any(line.startswith("retry: ") for line in rest)
        service.start()
        with service.client() as client:
            until_blocking(lambda: all(_status(client, job) == "completed" for job in jobs), within=40)


def _status(client: httpx.Client, job: str) -> str:
    return str(client.get(f"/api/v1/jobs/{job}").json()["status"])
