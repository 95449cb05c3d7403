"""What `doctor` looks at."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import httpx
from pydantic import SecretStr

from app.assets import OtherStorage, check_storage
from app.commands.folders import blocked
from app.commands.worlds import DATABASE
from app.core.errors import Problem
from app.services import Services
from app.settings import Settings, SettingsError
from app.store.schema import check_schema
from app.wiring import services_of

FAL = "https://queue.fal.run"
LEAST_ROOM = 1_000_000_000
SANDBOX_AWAY = "Start it: `darkroom dev`, or `darkroom sandbox`; or look at DARKROOM_FAL_URL."
NETWORK = "Look at the network, and at https://status.fal.ai"
MOST_SKEW = 60.0
"""Seconds. Webhooks are believed for 300 s, and presigned addresses of buckets for as little."""


@dataclass(frozen=True)
class Finding:
    name: str
    state: Literal["ok", "note", "fails"]
    says: str
    do: str = ""


class Ails(Exception):
    """What is wrong, and what to do."""

    def __init__(self, says: str, do: str) -> None:
        super().__init__(says)
        self.says = says
        self.do = do


Look = Callable[[Settings, Services], Awaitable[Finding | str]]


async def examine(settings: Settings, *, as_json: bool) -> int:
    """Print what was found; 1 when something fails."""
    try:
        async with _services(settings) as services:
            findings = [Finding("settings", "ok", f"They fit together; this is the {settings.world} world.")]
            for name, (look, do) in LOOKS.items():
                findings.append(await _found(name, look(settings, services), do))
    except SettingsError as wrong:
        return tell_of_settings(wrong, as_json=as_json)
    return _tell(findings, as_json=as_json)


def tell_of_settings(wrong: SettingsError, *, as_json: bool) -> int:
    """The one finding there can be while the settings cannot be used."""
    do = "Set it right and ask again: nothing else was looked at."
    return _tell([Finding("settings", "fails", str(wrong), do)], as_json=as_json)


def _tell(findings: list[Finding], *, as_json: bool) -> int:
    fails = [finding for finding in findings if finding.state == "fails"]
    if as_json:
        print(json.dumps({"ok": not fails, "findings": [asdict(finding) for finding in findings]}, indent=1))
        return 1 if fails else 0
    for finding in findings:
        print(f"{finding.state:<6} {finding.name:<11} {finding.says}")
        if finding.do:
            print(f"{'':<18} -> {finding.do}")
    return 1 if fails else 0


@asynccontextmanager
async def _services(settings: Settings) -> AsyncIterator[Services]:
    keyed = settings.model_copy(update={"fal_key": settings.fal_key or SecretStr("none")})
    with TemporaryDirectory() as elsewhere:
        if not settings.home.exists():  # to be looked at is no reason to come into being
            keyed = keyed.model_copy(update={"data": Path(elsewhere)})
        if settings.bucket is None and not settings.files.exists():
            keyed = keyed.model_copy(update={"storage_url": f"disk:{elsewhere}"})
        services = services_of(keyed, f"http://localhost:{settings.port}")
        try:
            yield services
        finally:
            for port in (services.provider, services.vision, services.blobs, services.fetcher, services.darkroom):
                await port.close()
            await services.db.close()


async def _found(name: str, look: Awaitable[Finding | str], do: str) -> Finding:
    try:
        said = await look
    except Ails as ails:
        return Finding(name, "fails", ails.says, ails.do)
    except Problem as problem:
        return Finding(name, "fails", problem.detail, do)
    except Exception as error:  # noqa: BLE001  # a doctor does not faint
        return Finding(name, "fails", f"{type(error).__name__}: {error}".splitlines()[0], do)
    return said if isinstance(said, Finding) else Finding(name, "ok", said)


async def _data(settings: Settings, _services: Services) -> str:
    if reason := blocked(settings.home):
        raise Ails(
            f"{settings.home} cannot be used: {reason}", "Choose a folder that can be written: --data, DARKROOM_DATA."
        )
    if not settings.home.exists():
        raise Ails(f"There is no folder {settings.home} yet.", "darkroom migrate")
    free = shutil.disk_usage(settings.home).free
    secret = settings.home / "secret"
    if secret.exists() and secret.stat().st_mode & 0o077:
        raise Ails(f"{secret} can be read by others.", f"chmod 600 {secret}")
    if free < LEAST_ROOM:
        raise Ails(f"Only {free / 1e9:.1f} GB are free in {settings.home}.", "Make room, or move the data folder.")
    return f"{settings.home.resolve()}, {free / 1e9:.0f} GB free"


async def _database(settings: Settings, services: Services) -> str:
    if not _there(settings):
        raise Ails(f"There is no database in {settings.home}.", "darkroom migrate")
    await services.db.open()
    await services.db.check()
    return f"{services.db.dialect} answers"


def _there(settings: Settings) -> bool:
    return settings.database_url is not None or (settings.home / DATABASE).exists()


async def _migrations(settings: Settings, services: Services) -> str:
    if not _there(settings):
        raise Ails("There are no tables yet.", "darkroom migrate")
    await check_schema(services.db)
    return "the newest"


async def _storage(settings: Settings, services: Services) -> Finding | str:
    await _require_ours(settings, services)
    if settings.bucket is None and not settings.files.exists():
        if reason := blocked(settings.files):
            raise Ails(f"{settings.files} cannot be used: {reason}", "Choose another folder: DARKROOM_STORAGE_URL.")
        return Finding(
            "storage", "note", f"There is no folder {settings.files} yet.", "Nothing: the first start makes it."
        )
    await services.blobs.check()
    if settings.database_url is not None and settings.bucket is None:
        return Finding(
            "storage", "note", "Files are kept on this machine, and the database may have several.",
            "With more than one machine, use a bucket: DARKROOM_STORAGE_URL=s3://BUCKET",
        )  # fmt: skip
    return f"a probe could be written, read and deleted in {settings.bucket or settings.files}"


async def _require_ours(settings: Settings, services: Services) -> None:
    """Raises Ails when the database knows of another storage."""
    if not _there(settings):
        return
    try:
        with suppress(Problem):  # what else ails is found by the other looks
            await check_schema(services.db)
            await check_storage(services)
    except OtherStorage as other:
        raise Ails(
            str(other), "Look at DARKROOM_STORAGE_URL, or at DARKROOM_DATA where files are in a folder."
        ) from None


async def _fal(settings: Settings, services: Services) -> str:
    if settings.fal_key is None and settings.fal_url is None:
        raise Ails("FAL_KEY is not set.", "Make a key at https://fal.ai/dashboard/keys, or use `darkroom dev`.")
    try:
        await services.provider.check()
    except Problem as problem:
        if settings.fal_url is None and problem.__cause__ is not None:  # it was never reached, so no key was looked at
            raise Ails(problem.detail, NETWORK) from None
        if settings.fal_url is None:
            raise
        raise Ails(f"{settings.fal_url}: {problem.detail}", SANDBOX_AWAY) from None
    return f"{settings.fal_url or 'fal.ai'} takes the key"


async def _claude(settings: Settings, services: Services) -> Finding | str:
    if settings.anthropic_api_key is None:
        if settings.world == "sandbox":
            says = "ANTHROPIC_API_KEY is not set: `darkroom dev` has its sandbox look at pictures, `serve` nobody."
            return Finding("claude", "note", says, "Nothing for `darkroom dev`; else ANTHROPIC_BASE_URL and _API_KEY.")
        says = "ANTHROPIC_API_KEY is not set: nobody looks at pictures; all else works."
        return Finding("claude", "note", says, "Make a key at https://console.anthropic.com, if you want that.")
    await services.vision.check()
    return f"{settings.claude_model} at {settings.anthropic_base_url or 'Anthropic'} takes the key"


async def _webhooks(settings: Settings, _services: Services) -> Finding | str:
    if settings.public_url is None and settings.world == "sandbox":
        return "the sandbox calls this service on this machine, so it needs no public address"
    if settings.public_url is None:
        says = "DARKROOM_PUBLIC_URL is not set: fal cannot call, so it is asked every few seconds. That works too."
        return Finding("webhooks", "note", says, "Set it to the https address of this service once it has one.")
    if settings.world == "real" and not settings.public_url.startswith("https://"):
        raise Ails(f"{settings.public_url} is not https, and fal calls nothing else.", "Put TLS in front of it.")
    async with httpx.AsyncClient(timeout=10.0) as http:
        try:
            answer = await http.get(f"{settings.public_url}/healthz")
        except httpx.TransportError as error:
            raise Ails(
                f"{settings.public_url} does not answer: {error}", "Is it running, and is that its address?"
            ) from None
    if answer.status_code != 200 or answer.json() != {"status": "alive"}:
        raise Ails(
            f"{settings.public_url}/healthz answers {answer.status_code}, and not as we do.",
            "Let the proxy pass all paths on as they are; a redirect loses webhooks for ever.",
        )
    return f"{settings.public_url} leads here"


async def _clock(settings: Settings, _services: Services) -> str:
    async with httpx.AsyncClient(timeout=10.0) as http:
        try:
            answer = await http.get(settings.fal_url or FAL)
        except httpx.TransportError as error:
            if settings.fal_url:
                raise Ails(f"{settings.fal_url} does not answer: {error}", SANDBOX_AWAY) from None
            raise Ails(f"fal does not answer: {error}", NETWORK) from None
    skew = (datetime.now(UTC) - parsedate_to_datetime(answer.headers["date"])).total_seconds()
    if abs(skew) > MOST_SKEW:
        raise Ails(f"This machine's clock is {skew:+.0f} s off fal's.", "Set it (ntp); webhooks would be refused.")
    return f"within {max(abs(skew), 1):.0f} s of fal's"


async def _nudges(settings: Settings, services: Services) -> str:
    if settings.redis_url is None:
        return "inside each process; other processes look once a second"
    await services.bus.open()
    try:
        await services.bus.check()
    finally:
        await services.bus.close()
    return "Redis answers"


LOOKS: dict[str, tuple[Look, str]] = {
    "data": (_data, "Choose a folder that can be written: --data, DARKROOM_DATA."),
    "database": (_database, "Look at DARKROOM_DATABASE_URL, and whether the server runs."),
    "migrations": (_migrations, "darkroom migrate"),
    "storage": (_storage, "Look at DARKROOM_STORAGE_URL and the DARKROOM_S3_ variables."),
    "fal": (_fal, "Look at FAL_KEY, and at the balance at https://fal.ai/dashboard."),
    "claude": (_claude, "Look at ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL and DARKROOM_CLAUDE_MODEL."),
    "webhooks": (_webhooks, "Look at DARKROOM_PUBLIC_URL."),
    "clock": (_clock, "Look at the network."),
    "nudges": (_nudges, "Look at DARKROOM_REDIS_URL, and whether the server runs. All works without it, only later."),
}
