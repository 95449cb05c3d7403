"""`deploy/restore`, where not all goes well: what must not be passed over, and what may. The whole of it, with work
going on, is the restore drill of `tests/proof`. About 15 s."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.deploy.plans import DEPLOY
from tests.running import SECRET, clean_environment, empty_database, free_port


def test_fal_may_be_away(tmp_path: Path) -> None:
    done = _restored(tmp_path, _backup(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "fal is away" in done.stderr
    assert "Restored to what was at" in done.stderr


def test_a_restore_that_could_not_be_noted_is_no_good(tmp_path: Path) -> None:
    """Started now, the service would buy again what was bought since the backup."""
    backup = _backup(tmp_path)
    about = backup / "about"
    about.write_text(about.read_text().replace("taken_at=", "taken_at=about "))
    done = _restored(tmp_path, backup)
    assert done.returncode == 1
    assert "Do not start the service" in done.stderr
    assert "darkroom restored" in done.stderr
    assert "Restored to" not in done.stderr


def _backup(folder: Path) -> Path:
    home = folder / "data" / "sandbox"
    home.mkdir(parents=True)
    shutil.copy(empty_database(), home / "darkroom.db")
    made = [sys.executable, "-m", "app", "admin", "workspace", "create", "Acme"]
    subprocess.run(made, env=_environment(folder, "data"), capture_output=True, check=True)
    done = _run("backup", folder, "data", folder / "kept")
    assert done.returncode == 0, done.stderr
    return folder / "kept"


def _restored(folder: Path, backup: Path) -> subprocess.CompletedProcess[str]:
    return _run("restore", folder, "elsewhere", backup)


def _run(script: str, folder: Path, data: str, backup: Path) -> subprocess.CompletedProcess[str]:
    environment = _environment(folder, data)
    return subprocess.run(
        [DEPLOY / script, backup], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def _environment(folder: Path, data: str) -> dict[str, str]:
    """Nobody is where fal should be."""
    fal = f"http://127.0.0.1:{free_port()}"
    given = {"DARKROOM_DATA": str(folder / data), "DARKROOM_SECRET": SECRET, "DARKROOM_FAL_URL": fal}
    environment = clean_environment(given)
    return environment | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
