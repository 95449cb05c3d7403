"""`deploy/Containerfile`, as far as it can be shown without a container engine: what it copies is there and is enough,
what it installs is locked, what it runs is nobody's root. About 10 s."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.plans import ROOT, containerfile, image_environment, last
from tests.running import clean_environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = containerfile()
FINAL = LINES[-1].stage


def copied() -> list[tuple[list[str], str]]:
    """What comes from the repository, and where to."""
    pairs = [line.rest.split() for line in LINES if line.word == "COPY" and "--from=" not in line.rest]
    return [(words[:-1], words[-1]) for words in pairs]


def installs() -> list[list[str]]:
    return [line.listed for line in LINES if line.word == "RUN" and "pip" in line.listed]


def test_it_copies_what_is_there_and_the_context_has_nothing_else() -> None:
    sources = {source for group, _ in copied() for source in group}
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert all((ROOT / source).exists() for source in sources)
    assert ignored[0] == "*", "everything is kept out that is not let in by name"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert not any(fnmatch.fnmatch(name, "*key*") or name == "." for name in sources)


def test_it_installs_from_the_lock_and_from_nothing_else() -> None:
    locked, ours = installs()
    assert locked[-2:] == ["-r", "deploy/requirements.lock"]
    assert {"--require-hashes", "--no-deps"} <= set(locked)
    assert {"--no-deps", "--no-build-isolation"} <= set(ours)
    assert ours[-1] == "."


def test_the_python_is_the_one_that_is_tested() -> None:
    bases = {line.rest.removesuffix(" AS build") for line in LINES if line.word == "FROM"}
    least = PROJECT["requires-python"].removeprefix(">=")
    assert len(bases) == 1
    assert re.fullmatch(rf"python:{re.escape(least)}-slim-\w+", bases.pop())


def test_it_runs_as_nobody_special_and_hears_signals() -> None:
    user = last("USER")
    assert user.stage == FINAL
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user.rest), "a number, so that a cluster can see that it is not root"
    after = LINES[LINES.index(user) :]
    assert not [line for line in after if line.word in {"RUN", "COPY", "ADD"}]
    program, *_ = last("CMD").listed
    assert program in PROJECT["scripts"]
    assert "ENTRYPOINT" not in {line.word for line in LINES}


def test_it_holds_no_secret() -> None:
    given = [line.rest for line in LINES if line.word in {"ENV", "ARG"}]
    assert not re.search(r"KEY|SECRET|TOKEN|PASSWORD", " ".join(given))
    assert image_environment()["PATH"].startswith("/opt/darkroom/bin:")


def test_its_labels_are_true() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last("LABEL").rest))
    assert labels["version"] == PROJECT["version"]
    assert labels.keys() == {"title", "description", "version", "revision"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is copied, installed by the same line into a folder."""
    context, target = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("built")
    for sources, to in copied():
        for source in sources:
            aim = context / to / Path(source).name if to.endswith("/") else context / to
            aim.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, aim, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, aim)
    _, *words = installs()[1]
    command = [sys.executable, *words[:-1], "--no-index", "--quiet", "--target", str(target), "."]
    subprocess.run(command, cwd=context, check=True, capture_output=True)
    return target


def test_what_is_copied_is_enough_to_run(built: Path, tmp_path: Path) -> None:
    def darkroom(*words: str) -> str:
        environment = clean_environment({"PYTHONPATH": str(built), "DARKROOM_DATA": str(tmp_path / "data")})
        ran = subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert json.loads(darkroom("openapi")) == json.loads((ROOT / "deploy" / "openapi.json").read_text())
    assert "is at 0" in darkroom("migrate")


def test_no_file_of_ours_is_left_behind(built: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "app"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in listed.stdout.split() if not (built / name).exists()] == []


def test_bytecode_is_made_for_all_of_it() -> None:
    [line] = [line for line in LINES if line.word == "RUN" and "compileall" in line.rest]
    words = line.listed
    assert words[words.index("--invalidation-mode") + 1] == "unchecked-hash"
    assert all(LINES.index(line) > LINES.index(other) for other in LINES if other.word == "RUN" and "pip" in other.rest)
