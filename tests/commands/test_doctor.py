"""`doctor`: what it finds, and what it says to do."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import SecretStr

from app.commands.examination import LOOKS, _found
from app.core.errors import Unavailable
from app.services import Services
from app.settings import Settings
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


@pytest.mark.parametrize(
    ("cause", "named"), [(OSError("Name or service not known"), "network"), (None, "balance")], ids=["away", "refuses"]
)
async def test_a_fal_that_was_never_reached_is_no_matter_of_the_key(cause: OSError | None, named: str) -> None:
    class Fal:
        async def check(self) -> None:
            raise Unavailable("fal did not do it.") from cause

    settings = Settings(fal_key=SecretStr("k"), fal_url=None)
    look, do = LOOKS["fal"]
    found = await _found("fal", look(settings, cast("Services", SimpleNamespace(provider=Fal()))), do)
    assert found.state == "fails"
    assert named in found.do


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


def test_claude_is_asked_and_not_believed(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        ours = {name: value for name, value in service.environment.items() if name.startswith("DARKROOM")}
        ours["ANTHROPIC_BASE_URL"] = ours["DARKROOM_FAL_URL"]

        def claude(**changes: str) -> dict[str, str]:
            return findings(doctor(ours | changes, "--json"))["claude"]

        assert claude()["state"] == "note"
        well = claude(ANTHROPIC_API_KEY="any")
        assert (well["state"], well["says"]) == (
            "ok",
            f"claude-sonnet-5-5 at {ours['ANTHROPIC_BASE_URL']} takes the key",
        )
        refused = claude(ANTHROPIC_API_KEY="bad")
        assert refused["state"] == "fails"
        assert "does not take the key" in refused["says"]
        assert "ANTHROPIC_API_KEY" in refused["do"]
        misnamed = claude(ANTHROPIC_API_KEY="any", DARKROOM_CLAUDE_MODEL="gpt-9")
        assert misnamed["state"] == "fails"
        assert "knows no model gpt-9" in misnamed["says"]
        nowhere = claude(ANTHROPIC_API_KEY="any", ANTHROPIC_BASE_URL=f"http://127.0.0.1:{free_port()}")
        assert nowhere["state"] == "fails"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"DARKROOM_TIME_FACTOR": "3"}, "DARKROOM_FAL_URL"),
        ({"PORT": "many"}, "PORT"),
        ({"DARKROOM_DATABASE_URL": "postgresql://nobody@127.0.0.1/none"}, "DARKROOM_SECRET"),
    ],
)
def test_wrong_settings_are_a_finding(tmp_path: Path, wrong: Mapping[str, str], named: str) -> None:
    environment = {"DARKROOM_DATA": str(tmp_path), **wrong}
    told = doctor(environment)
    assert told.returncode == 1
    assert told.stdout.startswith("fails  settings")
    ran = doctor(environment, "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["ok"] is False
    [finding] = findings(ran).values()
    assert (finding["name"], finding["state"]) == ("settings", "fails")
    assert named in finding["says"]
    assert finding["do"]
    assert "Traceback" not in ran.stderr + told.stderr


def test_two_worlds_and_no_word_which_is_a_finding(tmp_path: Path) -> None:
    for world in ("sandbox", "real"):
        (tmp_path / world).mkdir()
        (tmp_path / world / "darkroom.db").touch()
    ran = doctor({"DARKROOM_DATA": str(tmp_path)}, "--json")
    assert ran.returncode == 1
    assert "two worlds" in findings(ran)["settings"]["says"]
