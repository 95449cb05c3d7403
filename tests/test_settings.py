"""The environment: one reader, words that help, and nothing secret in them."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.settings import Settings, SettingsError, read_settings, variable
from tests.running import settings_from

PASSWORD = "hunter2hunter2"


def test_a_fault_is_told_under_the_name_by_which_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORT", raising=False)
    with pytest.raises(SettingsError, match=r"^--port: "):
        read_settings(port=99_999)
    monkeypatch.setenv("PORT", "99999")
    with pytest.raises(SettingsError, match=r"^PORT: "):
        read_settings()


def test_without_any_variable_it_is_one_machine_with_a_folder() -> None:
    settings = settings_from({})
    assert settings.world == "real"
    assert settings.database == "sqlite:///.darkroom/real/darkroom.db"
    assert settings.files == Path(".darkroom/real/files")


def test_every_setting_says_its_reason() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_an_empty_variable_counts_as_not_set() -> None:
    settings = settings_from({"FAL_KEY": "", "DARKROOM_PUBLIC_URL": "", "PORT": "", "DARKROOM_SECRET": ""})
    assert settings == settings_from({})


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    assert read_settings(port=2).port == 2
    assert read_settings(port=None).port == 1


def test_the_two_worlds_never_share_a_folder() -> None:
    real = settings_from({"DARKROOM_STORAGE_URL": "disk:/srv/files"})
    sandbox = settings_from({"DARKROOM_STORAGE_URL": "disk:/srv/files", "DARKROOM_FAL_URL": "http://localhost:9000"})
    assert {real.home, real.files}.isdisjoint({sandbox.home, sandbox.files})


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PORT": "many"}, "PORT"),
        ({"DARKROOM_SECRET": "short"}, "DARKROOM_SECRET"),
        ({"DARKROOM_TIME_FACTOR": "5"}, "unset it, or set DARKROOM_FAL_URL"),
        ({"DARKROOM_TIME_FACTOR": "0", "DARKROOM_FAL_URL": "http://x"}, "DARKROOM_TIME_FACTOR"),
        ({"DARKROOM_STORAGE_URL": "ftp://x"}, "disk:FOLDER or s3://BUCKET"),
        ({"DARKROOM_STORAGE_URL": "s3://"}, "disk:FOLDER or s3://BUCKET"),
        ({"DARKROOM_STORAGE_URL": "s3://b"}, "DARKROOM_S3_ACCESS_KEY_ID"),
        ({"DARKROOM_DATABASE_URL": f"mysql://u:{PASSWORD}@h/d"}, "SQLite in the data folder"),
        ({"DARKROOM_DATABASE_URL": f"postgresql://u:{PASSWORD}@h/d"}, "DARKROOM_SECRET has to be set"),
        ({"DARKROOM_PUBLIC_URL": "example.com"}, "DARKROOM_PUBLIC_URL"),
        ({"DARKROOM_REDIS_URL": f"http://:{PASSWORD}@h"}, "rediss://"),
        ({"DARKROOM_RUNNER": "outside"}, "DARKROOM_RUNNER"),
        ({"DARKROOM_LOG_LEVEL": "loud"}, "DARKROOM_LOG_LEVEL"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(environment: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_from(environment)
    assert says in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert "pydantic" not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    environment = {
        "FAL_KEY": PASSWORD,
        "ANTHROPIC_API_KEY": PASSWORD,
        "DARKROOM_SECRET": PASSWORD * 4,
        "DARKROOM_DATABASE_URL": f"postgresql://u:{PASSWORD}@h/d",
        "DARKROOM_S3_SECRET_ACCESS_KEY": PASSWORD,
        "DARKROOM_REDIS_URL": f"redis://:{PASSWORD}@h",
        "DARKROOM_METRICS_TOKEN": PASSWORD,
        "DARKROOM_API_KEY": PASSWORD,
    }
    settings = settings_from(environment)
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in settings.model_dump_json()
    assert PASSWORD in settings.database


def test_every_field_that_sounds_secret_is_typed_so() -> None:
    for name, field in Settings.model_fields.items():
        if re.search(r"key$|secret|token|password", name):
            assert "SecretStr" in str(field.annotation), name


def test_addresses_lose_the_slash_at_their_end() -> None:
    settings = settings_from({"DARKROOM_PUBLIC_URL": "https://example.com/", "DARKROOM_URL": "http://localhost:8000"})
    assert settings.public_url == "https://example.com"
    assert settings.url == "http://localhost:8000"


def test_postgresql_is_reached_through_psycopg() -> None:
    environment = {"DARKROOM_SECRET": "x" * 32, "DARKROOM_DATABASE_URL": "postgres://u:p@h:25060/d?sslmode=require"}
    assert settings_from(environment).database == "postgresql+psycopg://u:p@h:25060/d?sslmode=require"


def test_names_are_those_everybody_knows() -> None:
    assert [variable(name) for name in ("fal_key", "anthropic_api_key", "port", "public_url")] == [
        "FAL_KEY",
        "ANTHROPIC_API_KEY",
        "PORT",
        "DARKROOM_PUBLIC_URL",
    ]
    assert isinstance(settings_from({"FAL_KEY": "a"}).fal_key, SecretStr)
