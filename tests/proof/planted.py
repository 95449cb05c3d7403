"""T25: do the tests bite? Each patch in `bugs/` plants one bug; its first line says which promise that breaks and which
tests have to find it. The tree is copied, the bug is planted in the copy, and those tests must be red there.

A patch is a unified diff whose line numbers nobody reads: what it takes away must stand in the file exactly once. So
it follows the code when lines move, and says so when the code it was made for is gone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.proof.scoreboard import Effort, Score
from tests.running import ROOT

BUGS = Path(__file__).parent / "bugs"
_COPIED = ("app", "tests", "deploy", "README.md", "pyproject.toml")
_AT_ONCE = 2
_PATIENCE = 400.0
_FAILED = 1
"""What pytest says when tests ran and some were red; anything else is no finding."""


class Stale(Exception):
    """The code that a patch was made for has changed."""


@dataclass(frozen=True)
class Hunk:
    file: str
    old: str
    new: str

    def planted(self, root: Path) -> None:
        """Raises `Stale`."""
        text = (root / self.file).read_text() if (root / self.file).exists() else ""
        if text.count(self.old) != 1:
            raise Stale(f"this stands {text.count(self.old)} times in {self.file}:\n{self.old}")
        (root / self.file).write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Bug:
    name: str
    promise: str
    tests: Sequence[str]
    hunks: Sequence[Hunk]

    def plant(self, root: Path) -> None:
        """Raises `Stale`."""
        for hunk in self.hunks:
            hunk.planted(root)


def bugs() -> list[Bug]:
    return [_read(file) for file in sorted(BUGS.glob("*.patch"))]


def prove_planted(effort: Effort, folder: Path) -> Iterator[Score]:
    """In full every bug, and first that the same tests are green without any."""
    known = bugs()
    chosen = known if effort.full else Random(effort.seed).sample(known, 2)  # which is tried today
    wrong = _green(chosen, folder) if effort.full else []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        wrong += [words for words in pool.map(lambda bug: missed(bug, folder), chosen) if words]
    yield Score("T25", "planted bugs", {"planted": len(chosen), "found": len(chosen) - len(wrong)}, wrong)


def missed(bug: Bug, folder: Path) -> str | None:
    """A sentence when the tests did not find the bug."""
    with TemporaryDirectory(prefix=f"{bug.name}-", dir=folder) as copy:
        root = Path(copy)
        copy_tree(root)
        try:
            bug.plant(root)
        except Stale as stale:
            return f"{bug.name} does not apply any more: {stale}"
        code, said = _tested(root, bug.tests)
    return None if code == _FAILED else f"{bug.name} was not found (pytest ended with {code}): {bug.promise}\n{said}"


def copy_tree(root: Path) -> None:
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)


def _green(chosen: Sequence[Bug], folder: Path) -> list[str]:
    """Tests that are red anyway find nothing."""
    with TemporaryDirectory(prefix="unharmed-", dir=folder) as copy:
        copy_tree(Path(copy))
        code, said = _tested(Path(copy), sorted({test for bug in chosen for test in bug.tests}), len(chosen))
    return [f"without any bug, pytest ended with {code}:\n{said}"] if code else []


def _tested(root: Path, tests: Sequence[str], times: int = 1) -> tuple[int, str]:
    """Pytest's exit code there, -1 when it did not end, and its last words."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "-p", "no:cacheprovider", *tests]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        try:
            said, _ = run.communicate(timeout=_PATIENCE * times)
        except subprocess.TimeoutExpired:
            run.terminate()
            return -1, run.communicate()[0][-2000:]
    return run.returncode, said[-2000:]


def _read(file: Path) -> Bug:
    head, _, diff = file.read_text().partition("\n")
    promise, _, tests = head.partition(" Found by: ")
    return Bug(file.stem, promise, tests.split(), list(_hunks(diff)))


def _hunks(diff: str) -> Iterator[Hunk]:
    for part in re.split(r"^--- .*\n(?=\+\+\+ b/)", diff, flags=re.MULTILINE)[1:]:
        head, *hunks = re.split(r"^@@ .*\n", part, flags=re.MULTILINE)
        file = head.strip().removeprefix("+++ b/")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            yield Hunk(
                file,
                "".join(line[1:] for line in lines if line[0] in " -"),
                "".join(line[1:] for line in lines if line[0] in " +"),
            )
