"""Starts on this machine what a deployment would start in containers: the same commands with the same environment, only
that each `host:port` between them becomes a free port of loopback, and `/data` a folder.

PostgreSQL and Valkey are not started: a schema of the tests' own PostgreSQL and their Redis stand in for them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from tests.deploy.plans import DEPLOY, Part, health_check
from tests.running import ROOT, Program, clean_environment, free_port
from tests.waiting import until_blocking

NGINX = "/usr/sbin/nginx"
PROGRAMS = {
    "darkroom": [sys.executable, "-m", "app"],
    "moto_server": [sys.executable, "-W", "ignore", "-m", "moto.server"],
    "python": [sys.executable],
    "nginx": [NGINX],
}


class Running(Program):
    """A part, started by its own command."""

    @property
    def command(self) -> list[str]:
        return list(self.arguments)

    def end(self) -> None:
        """With all that it started: nginx's workers outlive a master that is killed."""
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Fleet:
    """`given` goes before what the environment of a part of ours says: where the servers are that stand in for others.
    `published` is how the outside calls a port of a host inside."""

    folder: Path
    parts: Mapping[str, Part]
    given: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    _ports: dict[tuple[str, int], int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        for program in self.running.values():
            if program.alive:
                program.end()

    def start(self, name: str) -> Running:
        """Once what it needs is there; then wait until it answers."""
        program = self.begin(name)
        self.wait_for(name)
        return program

    def begin(self, name: str) -> Running:
        """The same without the waiting at the end."""
        part = self.parts[name]
        for other, over in part.after.items():
            if other in self.parts and other not in self.running:
                self.begin(other)
            if over:
                assert self.running[other].wait(60) == 0, self.running[other].text()
            elif other in self.parts:
                self.wait_for(other)
        program = Running(self._command(part), self.environment(name), self.folder / f"{name}.log")
        self.running[name] = program
        program.start()
        return program

    def run(self, name: str, *arguments: str) -> str:
        """A command of ours where that part is, as `docker compose exec` would run it; what it printed."""
        command = [*PROGRAMS["darkroom"], *arguments]
        ran = self._ran(command, self.environment(name))
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return str(ran.stdout).strip()

    def is_well(self, name: str) -> bool:
        """What the image's own health check says of that part."""
        program, *words = health_check()
        return self._ran([*PROGRAMS[program], *words], self.environment(name)).returncode == 0

    def port(self, host: str, port: int = 8000) -> int:
        """Where on this machine that port of that host is."""
        return self._ports.setdefault((host, port), free_port())

    def placed(self, text: str, name: str) -> str:
        """What a part of that name is told, with the addresses and folders of this machine."""
        for outside, inside in self.published.items():
            text = text.replace(outside, f"localhost:{self.port(*inside)}")
        hosts = "|".join({part.host for part in self.parts.values()})
        text = re.sub(rf"\b({hosts}):(\d+)", lambda m: f"127.0.0.1:{self.port(m[1], int(m[2]))}", text)
        return re.sub(r"^/data\b", str(self.folder / name), text).replace("0.0.0.0", "127.0.0.1")

    def environment(self, name: str) -> dict[str, str]:
        part = self.parts[name]
        own = {key: self.placed(value, name) for key, value in part.environment.items() if key != "PATH"}
        if "PORT" in own:
            own |= {"PORT": str(self.port(part.host, int(own["PORT"]))), **self.given}
        return clean_environment(own)

    def wait_for(self, name: str) -> None:
        part = self.parts[name]
        if part.listens is not None:
            url = f"http://127.0.0.1:{self.port(part.host, part.listens)}/healthz"
            until_blocking(lambda: _answers(self.running[name], url), within=30)

    def _command(self, part: Part) -> list[str]:
        program, *words = (self.placed(word, part.name) for word in part.command)
        for option in {"--port", "-p"} & set(words):
            where = words.index(option) + 1
            words[where] = str(self.port(part.host, int(words[where])))
        if {"serve", "work"} & set(words):
            words += ["--host", "127.0.0.1"]
        if program == "nginx":
            words = ["-c", str(self._front(part)), *words]
        return [*PROGRAMS[program], *words]

    def _front(self, part: Part) -> Path:
        """The front server's configuration as it is mounted, for this machine."""
        folder = self.folder / part.name
        folder.mkdir()
        text = self.placed((DEPLOY / "front.conf").read_text(), part.name)
        text = text.replace("listen 8000", f"listen 127.0.0.1:{self.port(part.host)}")
        text = text.replace("/tmp/front", str(folder / "front"))
        if os.geteuid() == 0:  # else its workers may not enter the folder
            text = f"user root;\n{text}"
        file = folder / "front.conf"
        file.write_text(text)
        return file

    def _ran(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[Any]:
        return subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )


def _answers(program: Program, url: str) -> bool:
    assert program.alive, f"it ended at once:\n{program.text()[-4000:]}"
    try:
        httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return True
