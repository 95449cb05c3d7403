"""The sandbox as a child process of ours, and the settings that lead to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from app.settings import Settings, SettingsError, read_settings

STOPS_WITHIN = 5.0
FASTEST = 1_000.0


class Box:
    """`with Box(folder, speed, chaos) as box`: it starts at once and is asked for when it is needed. It listens where
    it did the last time or not at all, since jobs under way remember its address. When we are killed, it notices and
    ends."""

    def __init__(self, folder: Path, speed: float, chaos: str) -> None:
        self.speed = speed
        self._folder = folder
        self._chaos = chaos
        self._port_file = folder / "port"
        self._facts: dict[str, Any] | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = self._start(self._last_port())
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._process is not None:
            self._end(self._process)

    @property
    def facts(self) -> dict[str, Any]:
        """What it said of itself: url, port, key, user_id. Waits until it has said it."""
        if self._facts is None:
            self._facts = self._introduced()
            self._port_file.write_text(str(self._facts["port"]))
        return self._facts

    def wait(self) -> None:
        """Until its process has ended, however that comes about."""
        if self._process is not None:
            self._process.wait()

    def _introduced(self) -> dict[str, Any]:
        assert self._process
        assert self._process.stdout
        if line := self._process.stdout.readline():
            facts: dict[str, Any] = json.loads(line)
            return facts
        self._process.wait()
        raise SettingsError(f"The sandbox did not start; what it said stands above.{self._elsewhere()}")

    def _elsewhere(self) -> str:
        """What to do when the port of last time is somebody else's by now."""
        port = self._last_port()
        if not port:
            return ""
        return (
            f" It wants port {port}, as last time, since jobs under way fetch their pictures there. Free that port; or "
            f"remove {self._port_file}, if nothing is under way; or choose another data folder (--data)."
        )

    def _last_port(self) -> int:
        with suppress(FileNotFoundError, ValueError):
            return int(self._port_file.read_text())
        return 0

    def _start(self, port: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "app.sandbox", "--with-parent", "--port", str(port)]
        command += ["--data", str(self._folder), "--speed", str(self.speed)]
        command += ["--chaos", self._chaos] if self._chaos else []
        # A session of its own: Ctrl-C is for us, and we still need it while we stop.
        return subprocess.Popen(  # noqa: S603  # our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def sandbox_settings(given: Settings, box: Box) -> Settings:
    """The settings, with the sandbox for fal and for Claude. No real key goes there."""
    facts = box.facts
    return given.model_copy(
        update=read_settings(
            fal_url=facts["url"],
            fal_key=facts["key"],
            fal_user_id=facts["user_id"],
            anthropic_base_url=facts["url"],
            anthropic_api_key=facts["key"],
            time_factor=box.speed,
        ).model_dump(include=set(_BOXED))
    )


_BOXED = ("fal_url", "fal_key", "fal_user_id", "anthropic_base_url", "anthropic_api_key", "time_factor")


def require_chaos(said: str, speed: float) -> None:
    """Said here, before the child says it in its own words. Raises `SettingsError`."""
    from app.sandbox.fal.chaos import parse

    if not 0 < speed <= FASTEST:
        raise SettingsError(f"--speed is more than 0 and at most {FASTEST:g}; beyond that nothing keeps up.")
    try:
        parse(said)
    except ValueError as error:
        raise SettingsError(f"--chaos {said}: {error}.") from None


def require_no_box(because: str, speed: float, chaos: str) -> None:
    """Nobody who asked for trouble should wonder why there is none. Raises `SettingsError`."""
    for option, given in (("--speed", speed != 1.0), ("--chaos", bool(chaos))):
        if given:
            raise SettingsError(f"{option} is for the local fal that dev starts, and with {because} it starts none.")


def real_settings(given: Settings) -> Settings:
    """Raises `SettingsError` when they do not lead to the real fal."""
    if given.fal_url:
        raise SettingsError("DARKROOM_FAL_URL names a sandbox, and --real wants fal.ai: unset it.")
    if given.fal_key is None:
        raise SettingsError("--real needs FAL_KEY, a key of fal.ai (https://fal.ai/dashboard/keys). It spends money.")
    return given
