"""`deploy/app.yaml` and `Procfile`: right by the platform's own schema, and what they start works. About 20 s."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from app.settings import Settings, variable
from tests.contracts.moto import BUCKET, moto
from tests.deploy.fleet import Fleet
from tests.deploy.plans import app_platform, app_spec, procfile
from tests.deploy.test_compose import order
from tests.running import SECRET, Sandbox, free_port, prepared, sandboxed, schema_of_its_own, settings_from

SCHEMA = Path(__file__).parent.parent / "recordings" / "digitalocean" / "app-spec.json"
SECRETS = {
    "FAL_KEY": "sandbox",
    "DARKROOM_SECRET": SECRET,
    "DARKROOM_S3_ACCESS_KEY_ID": "anyone",
    "DARKROOM_S3_SECRET_ACCESS_KEY": "anything",
}


def test_the_spec_is_one_by_the_platform_s_schema() -> None:
    jsonschema.validate(app_spec(), strict(json.loads(SCHEMA.read_text())))


def test_the_schema_refuses_what_is_no_spec() -> None:
    schema = strict(json.loads(SCHEMA.read_text()))
    for place, wrong in (("health_check", {"http_paths": "/healthz"}), ("termination", {"drain_seconds": 999})):
        spec = copy.deepcopy(app_spec())
        spec["services"][0][place] = wrong
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spec, schema)


def test_every_variable_is_a_setting_and_no_secret_has_a_value() -> None:
    known = {variable(name) for name in Settings.model_fields}
    for env in app_spec()["envs"]:
        assert env["key"] in known
        assert ("value" in env) != (env.get("type") == "SECRET")


def test_what_must_be_said_is_said() -> None:
    """A spec without these would be taken by the platform, and hurt."""
    spec = app_spec()
    [migrate], [web], [worker] = spec["jobs"], spec["services"], spec["workers"]
    assert migrate["kind"] == "PRE_DEPLOY"
    assert web["health_check"]["http_path"] == web["liveness_health_check"]["http_path"] == "/healthz"
    assert worker["liveness_health_check"]["port"] == int(worker["run_command"].split("--port ")[1])
    for each in (web, worker):
        assert each["termination"]["grace_period_seconds"] > 20, "it needs up to 20 s to end well"
    assert web["autoscaling"]["min_instance_count"] >= 2
    assert web["instance_size_slug"].startswith("apps-d-"), "only these scale by themselves"
    assert {database["engine"] for database in spec["databases"]} == {"PG", "VALKEY"}
    assert spec["disable_edge_cache"]


def test_what_the_platform_starts_makes_a_picture(tmp_path: Path, fal: Sandbox) -> None:
    web = free_port()
    with schema_of_its_own() as database, moto(strict=False) as s3:
        bound = {"db.DATABASE_URL": database, "nudges.DATABASE_URL": redis(), "APP_URL": f"http://localhost:{web}"}
        parts = {part.name: part for part in app_platform(SECRETS, bound)}
        elsewhere = {"DARKROOM_S3_ENDPOINT": s3.endpoint, "DARKROOM_STORAGE_URL": f"s3://{BUCKET}"}
        assert set(parts) == {"migrate", "web-1", "web-2", "worker"}
        with Fleet(
            tmp_path, parts, {**elsewhere, "DARKROOM_FAL_URL": fal.url}, {f"localhost:{web}": ("web-1", 8000)}
        ) as fleet:
            _makes_a_picture(fleet, "web-1", "web-2", "worker")


def test_what_the_procfile_starts_makes_a_picture(tmp_path: Path, fal: Sandbox) -> None:
    with schema_of_its_own() as database:
        environment = {
            "DARKROOM_FAL_URL": fal.url,
            "DARKROOM_SECRET": SECRET,
            "DARKROOM_DATABASE_URL": database,
            "DARKROOM_DATA": str(tmp_path / "data"),
            "DARKROOM_STORAGE_URL": f"disk:{tmp_path / 'files'}",
            "PORT": "5000",
        }
        with Fleet(tmp_path, procfile(environment)) as fleet:
            _makes_a_picture(fleet, "web", "worker")


def _makes_a_picture(fleet: Fleet, *names: str) -> None:
    """The first of them is asked; all end well."""
    for name in names:
        fleet.begin(name)
    for name in names:
        fleet.wait_for(name)
    key = prepared(settings_from(fleet.environment(names[0])))
    part = fleet.parts[names[0]]
    assert part.listens
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=30"}
    answer = httpx.post(
        f"http://127.0.0.1:{fleet.port(part.host, part.listens)}/api/v1/jobs",
        json=order("a boat"),
        headers=headers,
        timeout=40,
        trust_env=False,
    )
    assert answer.json()["status"] == "completed", answer.text
    assert {name: fleet.running[name].stop() for name in names} == dict.fromkeys(names, 0)


def strict(schema: Any) -> Any:
    """The same schema, for which a field it does not know is a mistake and no extra."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return closed | ({"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {})


def redis() -> str:
    address = os.environ.get("DARKROOM_TEST_REDIS_URL")
    if not address:
        pytest.skip("DARKROOM_TEST_REDIS_URL names no Redis")
    return address


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandboxed(tmp_path_factory.mktemp("fal")) as sandbox:
        yield sandbox
