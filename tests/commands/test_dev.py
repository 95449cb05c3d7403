"""`dev`, and the commands of those who use what it started: real processes, pasted lines."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.__main__ import build
from app.settings import SettingsError
from tests.running import ROOT, Program, clean_environment
from tests.small_disk import small_disk
from tests.waiting import until_blocking


@contextmanager
def developing(folder: Path, *options: str, **environment: str) -> Iterator[Program]:
    """Started, and its welcome printed."""
    given = clean_environment({"DARKROOM_DATA": str(folder / "data"), **environment})
    program = Program(["app", "dev", "--port", "0", "--speed", "20", *options], given, folder / "dev.log")
    program.start()
    try:
        until_blocking(lambda: "Ctrl-C" in program.text() or not program.alive, within=30)
        assert program.alive, program.text()
        yield program
    finally:
        if program.alive:
            program.kill()


def darkroom(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment({"DARKROOM_DATA": str(folder / "data")})
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False)


def key_of(program: Program) -> str:
    return str(re.findall(r"dk_test_\w+", program.text())[-1])


def children(program: Program) -> list[int]:
    assert program.process
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(program.process.pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Program]]:
    folder = tmp_path_factory.mktemp("dev")
    with developing(folder) as program:
        yield folder, program


def test_the_printed_line_makes_a_picture(dev: tuple[Path, Program]) -> None:
    [curl] = re.findall(r"^    (curl .+)$", dev[1].text(), re.MULTILINE)
    pasted = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60, check=False)
    job = json.loads(pasted.stdout)
    assert job["status"] == "completed"
    picture = httpx.get(job["assets"][0]["url"], trust_env=False)
    assert picture.headers["content-type"].startswith("image/")


def test_the_printed_link_signs_in_once(dev: tuple[Path, Program]) -> None:
    [link] = re.findall(r"http://\S+ticket=\S+", dev[1].text())
    with httpx.Client(trust_env=False) as browser:
        assert browser.get(link).headers["location"] == "/"
        base = link.partition("/signin")[0]
        assert browser.get(f"{base}/api/v1/me").json()["workspace"]["name"] == "development"
        assert browser.get(f"{base}/docs").status_code == 200
        assert browser.get(link).status_code == 410


def test_submit_saves_pictures_and_the_lists_show_the_job(dev: tuple[Path, Program], tmp_path: Path) -> None:
    folder, _ = dev
    made = darkroom(folder, "submit", "two owls", "--n", "2", "--out", str(tmp_path))
    assert made.returncode == 0, made.stderr
    assert len(list(tmp_path.iterdir())) == 2
    listed = json.loads(darkroom(folder, "jobs", "--json", "--limit", "2").stdout)
    assert {job["status"] for job in listed} == {"completed"}
    watched = darkroom(folder, "watch", listed[0]["id"])
    assert watched.returncode == 0
    assert watched.stdout.splitlines()[-1].split()[2] == "job.completed"
    assert "two owls" in darkroom(folder, "jobs").stdout
    edited = darkroom(folder, "submit", "a hat", "--model", "fal-ai/nano-banana/edit", "--json", "--ref",
                      str(next(tmp_path.iterdir())))  # fmt: skip
    assert edited.returncode == 0, edited.stderr
    assert json.loads(edited.stdout)[0]["reference_images"]
    for none in ((), ("",)):
        cut = darkroom(folder, "submit", *none, "--model", "cutout", "--ref", str(next(tmp_path.iterdir())))
        assert cut.returncode == 0, cut.stderr
    without = darkroom(folder, "submit")
    assert without.returncode == 2
    assert "prompt: " in without.stderr


def test_a_failed_job_and_a_wrong_model_are_told_in_words(dev: tuple[Path, Program]) -> None:
    wrong = darkroom(dev[0], "submit", "x", "--model", "fal-ai/nothing")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
    assert wrong.stderr.count("There is no such model or role here") == 1
    assert "/body" not in wrong.stderr
    refused = darkroom(dev[0], "submit", "[[refuse]] x", "--wait")
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert "failed" in refused.stdout
    assert "refused" in refused.stdout


def test_jobs_that_end_before_anybody_listens_are_not_waited_for(dev: tuple[Path, Program]) -> None:
    many = darkroom(dev[0], "submit", "a wren", "--n", "60", "--wait", "--json")
    assert many.returncode == 0, many.stderr
    assert [job["status"] for job in json.loads(many.stdout)] == ["completed"] * 60


def test_operators_commands_work_beside_it(
    dev: tuple[Path, Program], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, program = dev
    monkeypatch.setenv("DARKROOM_DATA", str(folder / "data"))

    def said(*words: str) -> str:
        """The command in this process, since starting one takes a second."""
        assert build()(list(words), result_action="return_value") == 0
        return capsys.readouterr().out.strip()

    assert "development" in said("admin", "workspace", "list")
    assert "development" in {row["name"] for row in json.loads(said("admin", "workspace", "list", "--json"))}
    workspace = said("admin", "workspace", "create", "Acme", "--test")
    assert "50 credits more" in said("admin", "grant", workspace, "50")
    key = said("admin", "key", "create", workspace, "--scopes", "jobs:read", "--days", "1")
    base = (folder / "data" / "sandbox" / "dev-url").read_text()
    me = httpx.get(f"{base}/api/v1/me", headers={"Authorization": f"Bearer {key}"}, trust_env=False).json()
    assert (me["workspace"]["id"], me["scopes"]) == (workspace, ["jobs:read"])
    for listed in (said("admin", "key", "list", workspace), said("admin", "key", "list", workspace, "--json")):
        assert key.split("_")[2][:8] in listed
        assert key.split("_")[3] not in listed
    assert "is revoked" in said("admin", "key", "revoke", key)
    assert "ticket=" in said("admin", "signin")
    assert json.loads(said("verify", "--json"))["looked"] > 0
    unknown = darkroom(folder, "redrive", "delivery_x")
    assert (unknown.returncode, "There is no delivery" in unknown.stderr) == (2, True)
    assert program.alive


def test_ctrl_c_stops_everything_and_the_key_stays_the_same(tmp_path: Path) -> None:
    with developing(tmp_path) as first:
        key, [sandbox, *_] = key_of(first), children(first)
        assert first.process
        first.process.send_signal(signal.SIGINT)
        assert first.wait(20) == 0
        assert "Traceback" not in first.text()
        until_blocking(lambda: gone(sandbox))
    with developing(tmp_path) as second:
        assert key_of(second) == key
    assert (tmp_path / "data" / "sandbox" / "dev-key").stat().st_mode & 0o077 == 0


def test_the_sandbox_dies_with_it_even_by_kill(tmp_path: Path) -> None:
    with developing(tmp_path) as program:
        pids = children(program)
        assert pids
        program.kill()
        until_blocking(lambda: all(gone(pid) for pid in pids), within=10)


def test_it_ends_when_the_sandbox_ends(tmp_path: Path) -> None:
    with developing(tmp_path) as program:
        os.kill(children(program)[0], signal.SIGKILL)
        assert program.wait(20) == 0
        assert "The sandbox has ended" in program.text()


def test_a_second_one_on_the_same_folder_is_refused_harms_nothing_and_leads_into_the_first(tmp_path: Path) -> None:
    with developing(tmp_path) as first:
        before = state(tmp_path)
        second = darkroom(tmp_path, "dev", "--port", "0", "--speed", "20")
        assert second.returncode == 2
        assert f"already, at {before['url']}." in second.stderr
        with httpx.Client(trust_env=False) as browser:
            assert browser.get(second.stdout.strip()).headers["location"] == "/"
            assert browser.get(f"{before['url']}/api/v1/me").json()["workspace"]["name"] == "development"
        assert state(tmp_path) == before
        assert len(children(first)) == 1
        assert darkroom(tmp_path, "submit", "a wren", "--wait").returncode == 0


def test_it_starts_only_where_jobs_under_way_look_for_their_pictures(tmp_path: Path) -> None:
    with developing(tmp_path) as first:
        waiting = darkroom(tmp_path, "submit", "[[slow:200]] a wren", "--json")
        assert waiting.returncode == 0, waiting.stderr
        before, pids = state(tmp_path), children(first)
        first.kill()
        until_blocking(lambda: all(gone(pid) for pid in pids))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(before["fal/port"])))
        taken.listen()
        refused = darkroom(tmp_path, "dev", "--port", "0", "--speed", "20")
    assert refused.returncode == 2, refused.stdout
    assert f"wants port {before['fal/port']}" in refused.stderr
    assert state(tmp_path)["fal/port"] == before["fal/port"]
    (tmp_path / "dev.log").unlink()
    with developing(tmp_path):
        job = json.loads(waiting.stdout)[0]["id"]
        assert darkroom(tmp_path, "watch", job).stdout.splitlines()[-1].split()[2] == "job.completed"


def state(folder: Path) -> dict[str, str]:
    """What others read to find the instance of this folder and its sandbox."""
    home = folder / "data" / "sandbox"
    return {name: (home / name).read_text() for name in ("fal/port", "dev-url", "url") if (home / name).exists()}


def test_a_key_lying_about_is_not_spent_and_real_wants_one(tmp_path: Path) -> None:
    with developing(tmp_path, FAL_KEY="the-real-one", ANTHROPIC_API_KEY="sk-ant-real") as program:
        assert "Pictures come from the sandbox" in program.text()
    refused = darkroom(tmp_path, "dev", "--real", "--port", "0")
    assert refused.returncode == 2
    assert "--real needs FAL_KEY" in refused.stderr


@pytest.mark.parametrize("option", [("--chaos", "lost"), ("--speed", "20")])
@pytest.mark.parametrize("why", ["--real", "DARKROOM_FAL_URL"])
def test_what_is_for_its_own_sandbox_is_refused_where_it_starts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, str], why: str
) -> None:
    monkeypatch.setenv("DARKROOM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv(*(("FAL_KEY", "k") if why == "--real" else (why, "http://127.0.0.1:9")))
    words = ["dev", *option, *(["--real"] if why == "--real" else [])]
    with pytest.raises(SettingsError, match=f"{option[0]} is for the local fal .* with {why}"):
        build()(words, result_action="return_value")


def test_a_disk_without_room_is_warned_of_in_the_welcome(dev: tuple[Path, Program], tmp_path: Path) -> None:
    with small_disk(tmp_path / "data", size="6m"), developing(tmp_path) as program:
        [warning] = [line for line in program.text().splitlines() if "MB are free" in line]
        assert re.fullmatch(r"  Only \d MB are free below \S+; make room until it is 200\.", warning)
    assert "MB are free" not in dev[1].text()


def test_without_an_instance_the_commands_say_whom_to_ask(tmp_path: Path) -> None:
    told = darkroom(tmp_path, "submit", "x")
    assert told.returncode == 2
    assert "DARKROOM_URL" in told.stderr
    nothing = darkroom(tmp_path, "verify")
    assert nothing.returncode == 2
