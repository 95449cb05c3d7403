"""The real service and the real sandbox as programs, for tests that start, stop and kill them.

    with running(tmp_path, speed=20) as service:
        answer = service.client().get("/api/v1/me")
        service.kill()
        service.start()
        assert service.stop() == 0

All ports are free ones and stay the same over a restart. What the programs say is kept in `tmp_path`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text

from app.accounts.development import DEVELOPMENT
from app.commands.playground import open_playground
from app.core.ids import Ids
from app.settings import Settings, read_settings
from app.store.schema import upgrade
from app.wiring import database_of
from tests.waiting import until_blocking

ROOT = Path(__file__).parent.parent
SECRET = "of the tests, and of nobody else: 0123456789"
_ENVIRONMENT = Lock()
"""Held while it is changed: some tests start several services at once."""
_MIGRATING = Lock()
"""Held meanwhile: Alembic keeps what it is at in variables of its own."""
WORKSPACE = DEVELOPMENT
"""Whose key the client shows: a workspace with 1,000 credits."""


@dataclass
class Program:
    """A program of ours as a child process."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    said: Path
    code: Path = ROOT
    """The root of the tree whose `app` it runs."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", *self.arguments]

    def start(self) -> None:
        assert not self.alive
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.code,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait(self, within: float = 30.0) -> int:
        assert self.process
        return self.process.wait(within)

    def stop(self, within: float = 30.0) -> int:
        """Ask it to end; its exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.wait(within)

    def kill(self) -> None:
        """As when the machine loses power, but for the page cache."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def text(self) -> str:
        return self.said.read_text(errors="replace") if self.said.exists() else ""


@dataclass
class Sandbox(Program):
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        super().start()
        until_blocking(lambda: _answers(self, f"{self.url}/.well-known/jwks.json"), within=20)


@dataclass
class Service(Program):
    """`start` waits until it answers. More environment for the next start goes into `extra`."""

    port: int = 0
    key: str = ""
    folder: Path = Path()
    sandbox: Sandbox | None = None
    settings: Settings | None = None
    extra: dict[str, str] = field(default_factory=dict)
    helpers: list[Program] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self, **extra: str) -> None:
        self.extra |= extra
        self.environment = {**self.environment, **self.extra}
        super().start()
        until_blocking(lambda: _answers(self, f"http://127.0.0.1:{self.port}/healthz"), within=20)

    def restart(self) -> None:
        self.stop()
        self.start()

    def client(self, **options: Any) -> httpx.Client:
        """Shows the key; talks to nobody but the service."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=70, trust_env=False, **options)

    def beside(self, *arguments: str, **extra: str) -> Program:
        """Another program of ours with the same surroundings (`beside("app", "work")`), ended with this one."""
        said = self.folder / f"{arguments[-1]}-{len(self.helpers)}.log"
        program = Program(arguments, {**self.environment, **extra}, said, self.code)
        self.helpers.append(program)
        program.start()
        return program


@contextmanager
def running(
    folder: Path,
    *,
    speed: float = 1.0,
    chaos: str = "",
    database: str | None = None,
    sandbox: Sandbox | None = None,
    start: bool = True,
    **extra: str,
) -> Iterator[Service]:
    """`database`: an address of PostgreSQL (see `schema_of_its_own`); else SQLite in `folder`. `sandbox`: one that runs
    already, else one of its own. `extra` goes into the service's environment."""
    with ExitStack() as open_:
        if sandbox is None:
            sandbox = open_.enter_context(sandboxed(folder, speed=speed, chaos=chaos))
        given = {
            "DARKROOM_FAL_URL": sandbox.url,
            "DARKROOM_FAL_USER_ID": "user_sandbox",
            "ANTHROPIC_BASE_URL": sandbox.url,
            "ANTHROPIC_API_KEY": "sandbox",
            "DARKROOM_TIME_FACTOR": str(speed),
            "DARKROOM_DATA": str(folder / "data"),
            "DARKROOM_SECRET": SECRET,
            "PORT": str(free_port()),
            **({"DARKROOM_DATABASE_URL": database} if database else {}),
            **extra,
        }
        settings = settings_from(given)
        service = Service(
            ["app", "serve", "--host", "127.0.0.1"],
            clean_environment(given),
            folder / "serve.log",
            port=settings.port,
            key=prepared(settings),
            folder=folder,
            sandbox=sandbox,
            settings=settings,
        )
        open_.callback(_end, service)
        if start:
            service.start()
        yield service


@contextmanager
def sandboxed(folder: Path, *, speed: float = 1.0, chaos: str = "", program: str = "app.sandbox") -> Iterator[Sandbox]:
    """The sandbox alone. Its port stays the same when it is stopped and started."""
    port = free_port()
    arguments = [program, "--port", str(port), "--data", str(folder / "fal"), "--speed", str(speed)]
    arguments += ["--with-parent"] + (["--chaos", chaos] if chaos else [])
    folder.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(arguments, clean_environment({}), folder / "sandbox.log", port=port)
    sandbox.start()
    try:
        yield sandbox
    finally:
        if sandbox.alive:
            sandbox.kill()


@contextmanager
def schema_of_its_own() -> Iterator[str]:
    """The address of an empty PostgreSQL schema; skips where there is no server."""
    server = os.environ.get("DARKROOM_TEST_DATABASE_URL")
    if not server:
        pytest.skip("DARKROOM_TEST_DATABASE_URL names no PostgreSQL")
    schema = f"run_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        url = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
        yield url.render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        engine.dispose()


def prepared(settings: Settings) -> str:
    """Bring the database of these settings into being, with a workspace; the key of that."""
    if settings.database_url is not None:
        with _MIGRATING:
            upgrade(settings.database)
    elif not (settings.home / "darkroom.db").exists():
        settings.home.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty_database(), settings.home / "darkroom.db")
    return asyncio.run(_key(settings))


def settings_from(environment: Mapping[str, str]) -> Settings:
    """As a program started in this environment would read them."""
    with _ENVIRONMENT, pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if _is_ours(name):
                patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        return read_settings()


def clean_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Ours, without any setting that happens to be in it, and with what is given."""
    kept = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **given}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def log_lines(program: Program) -> list[dict[str, Any]]:
    """What it logged, as data."""
    whole = program.text().split("\n")[:-1]  # the last one may still be on its way
    return [json.loads(line) for line in whole if line.startswith("{")]


async def _key(settings: Settings) -> str:
    db = database_of(settings)
    await db.open()
    try:
        ids = Ids(_now, os.urandom)
        return await open_playground(db, ids, settings)
    finally:
        await db.close()


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


@cache
def empty_database() -> Path:
    """A database at the newest migration, made once for all tests of this process."""
    file = Path(mkdtemp(prefix="darkroom-tests-")) / "darkroom.db"
    with _MIGRATING:
        upgrade(f"sqlite:///{file}")
    return file


def _is_ours(name: str) -> bool:
    return name.startswith(("DARKROOM_", "FAL_", "ANTHROPIC_")) or name in ("PORT", "WEB_CONCURRENCY")


def _answers(program: Program, url: str) -> bool:
    assert program.alive, f"it ended at once:\n{program.text()[-4000:]}"
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _end(service: Service) -> None:
    for program in (*service.helpers, service):
        if program.alive:
            program.kill()
