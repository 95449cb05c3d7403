"""Folders that a command is about to write to, looked at before it begins."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from app.settings import SettingsError


def require_folder(folder: Path, *, option: str) -> None:
    """Make it unless it is there. Raises `SettingsError` that names `option` when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SettingsError(f"{folder} is a file, and a folder is needed. Choose another: {option}.") from None
    except OSError as error:
        raise SettingsError(f"{folder} cannot be made: {error.strerror}. Choose another folder: {option}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{folder} cannot be written. Choose another folder: {option}.")


def require_home(home: Path, data: Path | None) -> None:
    """The same for the part of the data folder that is used; `data` is what --data said."""
    require_folder(home, option="--data" if data else "--data or DARKROOM_DATA")


def require_free(home: Path) -> None:
    """Raises `SettingsError` when a process works with this folder; said before anything else is begun there."""
    if is_running(home):
        where = ""
        with suppress(OSError):
            where = f", at {(home / 'url').read_text().strip()}"
        raise SettingsError(
            f"Darkroom works with {home.resolve()} already{where}. "
            "Use that one, stop it first, or choose another data folder (--data)."
        )


def is_running(home: Path) -> bool:
    """Whether a process works with this folder now. Creates nothing."""
    with suppress(OSError):
        descriptor = os.open(home / "lock", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def blocked(folder: Path) -> str | None:
    """Why it could not be made or written, without trying; none when it could."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return f"{there} is a file."
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written."
