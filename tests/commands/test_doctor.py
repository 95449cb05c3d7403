"""`doctor`: what it finds, and what it says to do."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.contracts.redis_server import redis_at_hand
from tests.running import ROOT, clean_environment, free_port, running, schema_of_its_own


def doctor(environment: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "doctor", *options]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment(environment), capture_output=True, text=True, timeout=120, check=False
    )


def findings(ran: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in json.loads(ran.stdout)["findings"]}


def test_all_is_well_and_then_one_picture_is_made(tmp_path: Path) -> None:
    with running(tmp_path, speed=60) as service:
        ours = {name: value for name, value in service.environment.items() if name.startswith(("DARKROOM", "ANTHR"))}
        public = {"DARKROOM_PUBLIC_URL": service.base_url}
        well = doctor(ours | public)
        assert well.returncode == 0, well.stdout + well.stderr
        assert "fails" not in well.stdout
        live = doctor(ours | public, "--live")
        assert live.returncode == 0, live.stdout + live.stderr
        assert "A picture came" in live.stdout
        assert service.settings
        [file] = service.settings.home.glob("doctor-live-*.json")
        points = json.loads(file.read_text())["points"]
        assert points["submit"]["status"] == 200
        assert points["webhook"]["came"] is True
        assert points["webhook repeated"]["signed anew"] is False  # as the sandbox has it
        assert points["webhook of the cancelled"]["came"] is True  # as the sandbox has it
        assert points["request list"]["same arguments"] is True
        assert {"result before the end", "cancel at once", "cancel after the end", "signing keys"} <= points.keys()


def test_each_failure_says_what_to_do(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    data = tmp_path / "nowhere"
    environment = {"DARKROOM_DATA": str(data), "DARKROOM_FAL_URL": nobody, "DARKROOM_PUBLIC_URL": nobody}
    ran = doctor(environment, "--json")
    assert ran.returncode == 1
    found = findings(ran)
    fails = {name for name, finding in found.items() if finding["state"] == "fails"}
    assert {"database", "migrations", "fal", "webhooks", "clock"} <= fails
    assert all(found[name]["do"] for name in fails)
    assert found["database"]["do"] == "darkroom migrate"
    assert "darkroom sandbox" in found["fal"]["do"]
    assert "status.fal.ai" not in found["clock"]["do"]
    assert not data.exists()
    assert "Traceback" not in ran.stderr


def test_a_folder_of_files_beside_a_shared_database_is_noted(tmp_path: Path) -> None:
    with schema_of_its_own() as database, running(tmp_path, database=database) as service:
        ours = {name: value for name, value in service.environment.items() if name.startswith("DARKROOM")}
        found = findings(doctor(ours, "--json"))
        assert found["storage"]["state"] == "note"
        assert found["claude"]["state"] == "note"
        assert (found["webhooks"]["state"], "fal cannot call" in found["webhooks"]["says"]) == ("ok", False)
        elsewhere = findings(doctor(ours | {"DARKROOM_STORAGE_URL": f"disk:{tmp_path / 'elsewhere'}"}, "--json"))
        assert elsewhere["storage"]["state"] == "fails"
        assert "DARKROOM_STORAGE_URL" in elsewhere["storage"]["do"]
        assert not (tmp_path / "elsewhere").exists()


def test_a_redis_is_reached_or_it_is_said_that_it_is_not(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        ours = {name: value for name, value in service.environment.items() if name.startswith("DARKROOM")}
        there = findings(doctor(ours | {"DARKROOM_REDIS_URL": redis_at_hand()}, "--json"))
        assert (there["nudges"]["state"], there["nudges"]["says"]) == ("ok", "Redis answers")
        away = doctor(ours | {"DARKROOM_REDIS_URL": f"redis://:secret@127.0.0.1:{free_port()}"}, "--json")
        assert findings(away)["nudges"]["state"] == "fails"
        assert "DARKROOM_REDIS_URL" in findings(away)["nudges"]["do"]
        assert "secret" not in away.stdout + away.stderr


def test_wrong_settings_are_told_without_a_traceback(tmp_path: Path) -> None:
    ran = doctor({"DARKROOM_DATA": str(tmp_path), "DARKROOM_TIME_FACTOR": "3"})
    assert ran.returncode == 2
    assert "DARKROOM_FAL_URL" in ran.stderr
    assert "Traceback" not in ran.stderr
