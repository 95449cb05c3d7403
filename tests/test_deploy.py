"""What a fresh machine is given: two locks that agree with `pyproject.toml` and each other, and scripts that parse."""

import inspect
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.commands.dev import dev

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_help_installs_nothing_and_names_every_option(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    for name in ("dev", "venv.sh", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy" / name)
    told = subprocess.run([tmp_path / "deploy" / "dev", "--help"], capture_output=True, text=True, check=True).stdout
    assert not (tmp_path / ".venv").exists()
    options = {f"--{name}" for name in inspect.signature(dev).parameters}
    assert set(re.findall(r"^  (--[a-z]+)", told, re.MULTILINE)) == options


def test_the_locks_name_no_host() -> None:
    for lock in (ROOT / "deploy").glob("*.lock"):
        assert not re.findall(r"://|^-", lock.read_text(), re.MULTILINE), lock.name


def test_every_pin_has_its_hashes() -> None:
    for lock in (ROOT / "deploy").glob("*.lock"):
        for pin in re.split(r"\n(?=\S)", lock.read_text().strip()):
            assert "--hash=sha256:" in pin, pin


def test_both_locks_hold_what_the_project_asks_for() -> None:
    runtime = [*PROJECT["dependencies"], *EXTRAS["postgres"], *EXTRAS["redis"], *EXTRAS["build"]]

    assert _unmet(runtime, _pins("requirements.lock")) == []
    assert _unmet([*runtime, *EXTRAS["dev"]], _pins("requirements-dev.lock")) == []


def test_what_is_tested_is_what_is_shipped() -> None:
    assert _pins("requirements.lock").items() <= _pins("requirements-dev.lock").items()


@pytest.mark.parametrize(
    "script",
    [
        "deploy/dev",
        "deploy/check",
        "deploy/lock",
        "deploy/venv.sh",
        "deploy/backup",
        "deploy/restore",
        "deploy/keeping.sh",
        ".ci/run",
    ],
)
def test_a_script_parses(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def _pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)", (ROOT / "deploy" / lock).read_text(), re.MULTILINE))


def _unmet(wanted: list[str], pins: dict[str, str]) -> list[str]:
    requirements = [Requirement(line) for line in wanted]
    return [str(r) for r in requirements if not r.specifier.contains(pins.get(canonicalize_name(r.name), "0"))]
