"""What the service is put together from, and how it behaves when something is missing."""

import asyncio
import importlib
import pkgutil
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import httpx
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import app
from app import __version__
from app.adapters.no_vision import NoVision
from app.adapters.redis_bus import RedisBus
from app.core.errors import Problem
from app.core.events import Event
from app.feature import Check, Feature, Schedule
from app.lifespan import Life
from app.main import application, document
from app.services import Services
from app.settings import Settings, SettingsError
from app.store.schema import MIGRATIONS, drift, newest, upgrade
from app.store.tasks import Task
from app.web.operation import Door, Operation
from app.wiring import FEATURES, PROBLEMS, installation_secret, reactions_of, task_handlers, wire
from tests.running import SECRET, free_port, sandboxed, schema_of_its_own, settings_from
from tests.waiting import until

BASE = "http://localhost:8000"
T = TypeVar("T")


def _settings(folder: Path, **more: str) -> Settings:
    given = {"DARKROOM_DATA": str(folder), "DARKROOM_FAL_URL": "http://127.0.0.1:9", "DARKROOM_SECRET": SECRET, **more}
    settings = settings_from(given)
    settings.home.mkdir(parents=True, exist_ok=True)
    if settings.database_url is None:
        upgrade(settings.database)
    return settings


def _life(settings: Settings, *features: Feature, on_crash: Callable[[], None] = lambda: None) -> Life:
    return Life(wire(settings, BASE, (*FEATURES, *features)), works=True, on_crash=on_crash)


async def _get(life: Life, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application(life)), base_url=BASE) as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_migrations_lead_to_the_tables_the_program_declares(kind: str, tmp_path: Path) -> None:
    if kind == "sqlite":
        _no_drift(f"sqlite:///{tmp_path / 'd.db'}")
    else:
        with schema_of_its_own() as url:
            _no_drift(url)


def _no_drift(url: str) -> None:
    said: list[str] = []
    upgrade(url)
    drift(url, said.append)
    upgrade(url)
    assert not [line for line in said if "Detected" in line]


def test_the_newest_revision_is_the_last_by_name() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == newest()


def test_no_two_features_declare_the_same_task() -> None:
    assert len(task_handlers(FEATURES)) >= 10
    with pytest.raises(ValueError, match="declared already"):
        task_handlers((*FEATURES, FEATURES[-1]))


def test_what_a_slice_has_to_declare_is_declared() -> None:
    """A feature, an event, a problem, an operation, a door or a check that somebody wrote and nobody listed would be
    missed by nobody."""
    found = [each.name for each in pkgutil.walk_packages(app.__path__, "app.") if _ours(each)]
    modules = [importlib.import_module(name) for name in found]
    events = {event for event in _below(Event) if event.__module__.startswith("app.")}
    operations = {each.id for each in _things(modules, Operation)}

    problems = {kind for kind in (Problem, *_below(Problem)) if kind.__module__.startswith("app.")}

    assert sorted(map(repr, problems)) == sorted(map(repr, PROBLEMS))
    assert {each.name for each in _things(modules, Feature)} == {each.name for each in FEATURES}
    assert events == {event for each in FEATURES for event in each.events}
    assert operations <= {operation.id for each in FEATURES for operation in each.operations}
    assert {each.path for each in _things(modules, Door)} <= {door.path for each in FEATURES for door in each.doors}
    assert {c.name for c in _things(modules, Check)} == {check.name for each in FEATURES for check in each.checks}
    assert len(events) > 10
    assert len(operations) > 20


def _ours(module: pkgutil.ModuleInfo) -> bool:
    """The sandbox is another program; a main module or a migration is run, not imported."""
    return not re.search(r"sandbox|__main__|migrations", module.name)


def _things(modules: Sequence[ModuleType], kind: type[T]) -> Iterator[T]:
    """Those that stand in a module, by themselves or in a tuple."""
    for value in [value for module in modules for value in vars(module).values()]:
        for each in value if isinstance(value, tuple) else [value]:
            if isinstance(each, kind):
                yield each


def _below(kind: type[T]) -> Iterator[type[T]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def test_every_reaction_has_a_handler() -> None:
    assert set(reactions_of(FEATURES).values()) <= task_handlers(FEATURES).keys()


def test_the_document_has_every_operation() -> None:
    paths = document()["paths"]
    assert {o.address.replace(":path}", "}") for f in FEATURES for o in f.operations} <= paths.keys()
    assert {"/healthz", "/readyz", "/version"} <= paths.keys()


def test_the_secret_is_made_once_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    settings = settings_from({"DARKROOM_DATA": str(tmp_path)})
    made = installation_secret(settings)
    assert len(made) >= 32
    assert installation_secret(settings) == made
    assert stat.S_IMODE((settings.home / "secret").stat().st_mode) == 0o600


def test_without_any_key_nobody_can_make_pictures(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FAL_KEY is not set"):
        wire(settings_from({"DARKROOM_DATA": str(tmp_path)}), BASE)


def test_without_a_key_for_claude_all_else_works(tmp_path: Path) -> None:
    assert isinstance(wire(_settings(tmp_path), BASE).services.vision, NoVision)


async def test_all_is_well(tmp_path: Path) -> None:
    with sandboxed(tmp_path) as fal:
        settings = _settings(tmp_path, DARKROOM_FAL_URL=fal.url)
        await _all_is_well(_life(settings))


async def test_a_fal_that_is_away_is_named(tmp_path: Path) -> None:
    async with _life(_settings(tmp_path)) as life:
        checks = (await _get(life, "/readyz")).json()["checks"]
        assert [name for name, check in checks.items() if not check["ok"]] == ["provider"]
        assert "Jobs wait for fal" in checks["provider"]["detail"]
        assert 'darkroom_check_ok{check="provider"} 0.0' in (await _get(life, "/metrics")).text


async def test_a_redis_that_is_away_costs_time_and_nothing_else(tmp_path: Path) -> None:
    with sandboxed(tmp_path) as fal:
        nobody = f"redis://127.0.0.1:{free_port()}"
        async with _life(_settings(tmp_path, DARKROOM_FAL_URL=fal.url, DARKROOM_REDIS_URL=nobody)) as life:
            ready = await _get(life, "/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (200, True)
            bus = ready.json()["checks"]["bus"]
            assert (bus["ok"], bus["needed"]) == (False, False)
            assert "Redis is away" in bus["detail"]
            metrics = (await _get(life, "/metrics")).text
            assert 'darkroom_away{what="bus"} 1.0' in metrics
            assert 'darkroom_check_ok{check="bus"} 0.0' in metrics


def test_two_installations_have_channels_of_their_own(tmp_path: Path) -> None:
    redis = {"DARKROOM_REDIS_URL": "redis://127.0.0.1"}
    ours, same, theirs = (
        wire(_settings(tmp_path / name, **redis, DARKROOM_SECRET=secret), BASE).services.bus
        for name, secret in (("one", SECRET), ("two", SECRET), ("three", SECRET[::-1]))
    )
    assert isinstance(ours, RedisBus)
    assert isinstance(same, RedisBus)
    assert isinstance(theirs, RedisBus)
    assert ours._channel == same._channel != theirs._channel
    assert SECRET not in ours._channel


async def _all_is_well(starting: Life) -> None:
    async with starting as life:
        assert (await _get(life, "/healthz")).json() == {"status": "alive"}
        ready = await _get(life, "/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert (await _get(life, "/version")).json()["version"] == __version__
        metrics = (await _get(life, "/metrics")).text
        assert "darkroom_queue_age_seconds" in metrics
        assert "darkroom_tasks_in_hand" in metrics


async def test_what_is_away_is_named_and_the_process_stays_alive(tmp_path: Path) -> None:
    async with _life(_settings(tmp_path)) as life:
        services = life.wired.services
        services.standing.rejection = "balance exhausted"
        services.standing.pause_ends = services.clock.monotonic() + 60
        ready = await _get(life, "/readyz")
        assert ready.status_code == 503
        assert ready.headers["retry-after"]
        assert "balance exhausted" in ready.json()["checks"]["provider"]["detail"]
        assert (await _get(life, "/healthz")).status_code == 200


async def test_while_it_stops_it_takes_nothing_new_but_says_how_it_is(tmp_path: Path) -> None:
    async with _life(_settings(tmp_path)) as life:
        life.drain()
        refused = await _get(life, "/api/v1/me")
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert (await _get(life, "/readyz")).status_code == 503
        assert (await _get(life, "/healthz")).status_code == 200


async def test_metrics_may_want_a_token(tmp_path: Path) -> None:
    async with _life(_settings(tmp_path, DARKROOM_METRICS_TOKEN="x1")) as life:
        assert (await _get(life, "/metrics")).status_code == 401
        assert (await _get(life, "/metrics", Authorization="Bearer x2")).status_code == 401
        assert (await _get(life, "/metrics", Authorization="Bearer x1")).status_code == 200


async def test_a_schedule_is_run_again_even_when_it_fails(tmp_path: Path) -> None:
    runs = 0
    twice = asyncio.Event()

    async def fail(_services: Services, _task: Task) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            twice.set()
        raise RuntimeError("today is not my day")

    feature = Feature(name="unlucky", schedules=(Schedule("unlucky.often", every=0.05, handler=fail),))
    async with _life(_settings(tmp_path), feature):
        await asyncio.wait_for(twice.wait(), 10)


async def test_a_crashed_runner_ends_the_process_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = asyncio.Event()

    async def crash(_self: Any) -> bool:
        raise RuntimeError("no longer")

    monkeypatch.setattr("app.store.runner.Runner._claim", crash)
    async with _life(_settings(tmp_path), on_crash=crashed.set) as life:
        await asyncio.wait_for(crashed.wait(), 10)
        assert life.crashed


async def test_what_a_task_says_is_measured(tmp_path: Path) -> None:
    done = asyncio.Event()

    async def work(_services: Services, _task: Task) -> None:
        done.set()

    feature = Feature(name="quick", schedules=(Schedule("quick.once", every=3600, handler=work),))
    async with _life(_settings(tmp_path), feature) as life:
        await asyncio.wait_for(done.wait(), 10)
        registry = life.wired.services.metrics.registry
        labels = {"stage": "schedule.quick.once"}
        await until(lambda: registry.get_sample_value("darkroom_stage_seconds_count", labels) == 1)
