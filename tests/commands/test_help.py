"""What the command line says of itself."""

import pytest

from app.__main__ import COMMANDS, build
from app.settings import SettingsError


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS if name != "sandbox"])
def test_each_command_tells_what_it_does_and_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    build(asked=name)([name, "--help"], result_action="return_value")
    told = capsys.readouterr().out
    assert told.startswith("Usage: darkroom")
    options = [line for line in told.splitlines() if line.strip("│* ").startswith("--")]
    assert all(len(line.strip("│ ").split("  ", 1)) == 2 for line in options), told


def test_the_sandbox_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build(asked="sandbox")(["sandbox", "--help"], result_action="return_value")
    assert capsys.readouterr().out.startswith("usage: darkroom sandbox ")


def test_help_is_the_whole_docstring_and_not_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    build(asked="verify")(["verify", "--help"], result_action="return_value")
    assert "Ends with 0 when all hold" in " ".join(capsys.readouterr().out.split())


def test_watch_refuses_before_it_announces(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="--after is the number of an event"):
        build(asked="watch")(["watch", "--after", "-1"], result_action="return_value")
    assert capsys.readouterr().err == ""


def test_a_flag_that_is_off_is_not_said_to_be_off(capsys: pytest.CaptureFixture[str]) -> None:
    build(asked="dev")(["dev", "--help"], result_action="return_value")
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "[default: 1.0]" in told
    assert "[default: False]" not in told
    assert "[default: None]" not in told
