"""Which world a command looks at when the data folder holds two."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.__main__ import build
from app.commands.folders import is_running
from app.commands.worlds import chosen
from app.settings import Settings, SettingsError
from app.store.sqlite import FolderLock


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Both worlds are there."""
    for world in ("sandbox", "real"):
        (tmp_path / world).mkdir()
        (tmp_path / world / "darkroom.db").touch()
    return tmp_path


def settings(data: Path, **given: object) -> Settings:
    return Settings(data=data, fal_key=None).model_copy(update=given)


def test_two_worlds_and_nothing_that_decides_are_refused_with_the_way_out(data: Path) -> None:
    with pytest.raises(SettingsError, match=f"--data {data / 'sandbox'} or --data {data / 'real'}"):
        chosen(settings(data))


@pytest.mark.parametrize("world", ["sandbox", "real"])
def test_that_one_runs_does_not_say_that_it_is_meant(data: Path, world: str) -> None:
    lock = FolderLock(data / world)
    assert lock.acquire()
    try:
        assert is_running(data / world)
        with pytest.raises(SettingsError, match="nothing says which is meant"):
            chosen(settings(data))
    finally:
        lock.release()
    assert not is_running(data / world)


@pytest.mark.parametrize(
    "words",
    [
        ("verify",),
        ("refused",),
        ("admin", "workspace", "create", "Acme"),
        ("admin", "workspace", "list"),
        ("admin", "key", "create", "Acme"),
        ("admin", "key", "list", "Acme"),
        ("admin", "grant", "Acme", "500"),
        ("admin", "signin"),
    ],
)
def test_every_command_that_could_mean_either_asks(
    data: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    for name in ("FAL_KEY", "DARKROOM_FAL_URL", "DARKROOM_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="nothing says which is meant"):
        build()([*words, "--data", str(data)], result_action="return_value")


@pytest.mark.parametrize("world", ["sandbox", "real"])
def test_a_world_s_own_folder_says_which(data: Path, world: str) -> None:
    assert chosen(settings(data / world)).home == data / world


def test_the_settings_go_before_what_runs(data: Path) -> None:
    lock = FolderLock(data / "sandbox")
    assert lock.acquire()
    try:
        assert chosen(Settings(data=data, fal_key=SecretStr("k"))).world == "real"
    finally:
        lock.release()
    assert chosen(settings(data, fal_url="http://127.0.0.1:9")).world == "sandbox"


def test_the_only_one_there_is_is_meant_and_no_key_goes_to_a_sandbox(data: Path) -> None:
    (data / "real" / "darkroom.db").unlink()
    found = chosen(Settings(data=data, fal_key=SecretStr("k")))
    assert (found.world, found.fal_key) == ("sandbox", None)


def test_the_place_is_named_before_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FAL_KEY", "DARKROOM_FAL_URL", "DARKROOM_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> int:
        code = build()([*words, "--data", str(tmp_path)], result_action="return_value")
        assert isinstance(code, int)
        return code

    assert run("migrate") == 0
    capsys.readouterr()
    assert run("verify", "--json") == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"Looking at the real world in {tmp_path / 'real'}.")
    assert json.loads(said.out)["where"] == f"the real world in {tmp_path / 'real'}"
    with pytest.raises(SettingsError, match="needs a name"):
        run("admin", "workspace", "create", " ")
    assert run("admin", "workspace", "create", "Acme") == 0
    workspace = capsys.readouterr().out.strip()
    assert run("admin", "workspace", "create", "Acme") == 0
    assert workspace in capsys.readouterr().err
    assert credits_in(tmp_path / "real") == {}
    assert run("admin", "workspace", "create", "Trial", "--test") == 0
    assert credits_in(tmp_path / "real") == {capsys.readouterr().out.strip(): 1_000}
    with pytest.raises(SettingsError, match="between 1 and 1,000,000,000"):
        run("admin", "grant", workspace, "9000000000000000000")
    assert run("admin", "signin", workspace) == 0
    assert "is a guess" in capsys.readouterr().err
    with pytest.raises(SettingsError, match=f"darkroom admin signin {workspace} +Acme"):
        run("admin", "signin")
    with pytest.raises(SettingsError, match="2 workspaces are called 'Acme'"):
        run("admin", "signin", "Acme")
    for days in ("0", "-3"):
        with pytest.raises(SettingsError, match="--days is between 1 and"):
            run("admin", "key", "create", "Trial", "--days", days)
    assert run("admin", "key", "create", "Trial", "--days", "1") == 0
    assert run("admin", "key", "create", "Trial") == 0
    capsys.readouterr()
    assert run("admin", "key", "list", "Trial") == 0
    listed = capsys.readouterr().out
    assert "never expires" in listed
    assert "expires 20" in listed


def test_whatever_workspace_is_made_in_the_sandbox_can_begin_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DARKROOM_FAL_URL", "http://127.0.0.1:9")
    for words in (("migrate",), ("admin", "workspace", "create", "Acme")):
        capsys.readouterr()
        assert build()([*words, "--data", str(tmp_path)], result_action="return_value") == 0
    said = capsys.readouterr()
    assert "begins with 1,000 credits" in said.err
    assert credits_in(tmp_path / "sandbox") == {said.out.strip(): 1_000}


def credits_in(world: Path) -> dict[str, int]:
    with closing(sqlite3.connect(world / "darkroom.db")) as connection:
        return dict(connection.execute("SELECT workspace, available FROM balances"))
