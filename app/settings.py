"""Every setting, with its default and the reason for it. The only reader of the environment: everything else is handed
what it needs. The table in README.md is made from these fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SANDBOX_KEY = "sandbox"

_URL = TypeAdapter(HttpUrl)


class SettingsError(Exception):
    """The surroundings are not set up; the text names the variable and the way out."""


def _address(given: object) -> object:
    """An address as it was given, but without the slash at its end; pydantic would put one there."""
    if isinstance(given, str):
        _URL.validate_python(given)
        return given.rstrip("/")
    return given


def _listed(given: object) -> object:
    return (
        tuple(part for part in (part.strip() for part in given.split(",")) if part) if isinstance(given, str) else given
    )


Address = Annotated[str, BeforeValidator(_address)]


class Settings(BaseSettings):
    """Read with `read_settings`. A field is set by the variable of its alias, else by DARKROOM_ and its name; one that
    is empty counts as not set."""

    model_config = SettingsConfigDict(
        env_prefix="DARKROOM_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    # Whom it works with
    fal_key: SecretStr | None = Field(None, validation_alias="FAL_KEY")
    """Key of the fal.ai account that makes and pays for the pictures. Needed by `serve` and `work` without
    DARKROOM_FAL_URL; `dev` spends money only with `--real`."""
    fal_url: Address | None = None
    """Stands in for all of fal's hosts: the sandbox. Not set: the real fal.ai."""
    fal_user_id: str | None = None
    """The fal user whose webhooks are believed. Not set: learned from the first webhook that bears our own tag."""
    anthropic_api_key: SecretStr | None = Field(None, validation_alias="ANTHROPIC_API_KEY")
    """Key for Claude, who looks at pictures. Not set: what needs it says so, all else works."""
    anthropic_base_url: Address | None = Field(None, validation_alias="ANTHROPIC_BASE_URL")
    """Stands in for Anthropic's host: the sandbox."""
    claude_model: str = "claude-sonnet-5-5"
    """Which Claude looks at pictures."""

    # How it is reached
    public_url: Address | None = None
    """Where fal and browsers reach this service, https://... . Not set: laptop mode, in which fal is asked instead of
    calling, and links point to localhost."""
    webhooks: Literal["on", "off"] = "on"
    """off: laptop mode even where fal could call, behind a wall that lets nobody in, say."""
    port: int = Field(8000, validation_alias="PORT", ge=0, le=65535)
    """Where `serve` listens unless told with --port. The name is the one hosting platforms set."""
    origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Other sites whose pages may call the API with a key, separated by commas. None: CORS is off."""
    metrics_token: SecretStr | None = None
    """What `GET /metrics` wants to see as a bearer token. Not set: nothing, since it names no tenant."""

    # What it keeps
    data: Path = Path(".darkroom")
    """Folder for everything kept on this machine. What came from the sandbox and what is real have folders of their own
    in it."""
    database_url: SecretStr | None = None
    """postgresql://... for several machines. Not set: SQLite in the data folder, which is enough for one."""
    storage_url: str | None = None
    """Where files are kept: disk:FOLDER or s3://BUCKET. Not set: the data folder."""
    s3_endpoint: Address | None = None
    """The bucket's service, https://fra1.digitaloceanspaces.com say, without the bucket's name. Not set: Amazon's."""
    s3_region: str = "us-east-1"
    """The bucket's region."""
    s3_access_key_id: str | None = None
    """Who we are to the bucket's service."""
    s3_secret_access_key: SecretStr | None = None
    """And the proof of it."""
    s3_cdn_url: Address | None = None
    """Base of the bucket's CDN; files are then public to whoever knows their address. Not set: addresses are signed."""
    redis_url: SecretStr | None = None
    """redis://... or rediss://...: through it the processes of one installation tell each other at once that there is
    something new. It keeps nothing. Not set, or away: another process's news is found within a second."""
    secret: SecretStr | None = Field(None, min_length=32)
    """Signs webhook tags, cursors and file addresses; at least 32 characters, the same on every machine. Not set: made
    once and kept in the data folder, which is refused with PostgreSQL."""

    # How it works
    processes: int = Field(1, validation_alias="WEB_CONCURRENCY", ge=1, le=256)
    """How many processes `serve` starts behind its one address, unless told with --processes. More than one needs
    PostgreSQL and a bucket. The name is the one hosting platforms set."""
    runner: Literal["inside", "none"] = "inside"
    """Whether `serve` also does the work, or leaves it to `work`."""
    time_factor: float = Field(1.0, gt=0)
    """How much faster our own waits run, to keep step with a sandbox's --speed. Refused with the real fal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are still written."""
    log_format: Literal["json", "text"] | None = None
    """json for machines, text for people. Not set: text for a terminal, json otherwise."""
    failpoint: str | None = None
    """NAME or NAME:N. For tests: the process kills itself when it passes that point for the Nth time; with
    `freeze ` before the name it stands still there."""
    failpoint_log: Path | None = None
    """For tests: a file to which the name of each point passed is appended."""

    # For those who call it from the command line
    url: Address | None = None
    """The service that `submit`, `jobs` and `watch` talk to. Not set: the development instance of this folder."""
    api_key: SecretStr | None = None
    """The key they show. Not set: the development instance's."""

    @field_validator("storage_url")
    @classmethod
    def _storage_is_known(cls, given: str | None) -> str | None:
        kind, _, rest = (given or "disk:.").partition(":")
        if kind not in {"disk", "s3"} or not rest.strip("/") or (kind == "s3" and not rest.startswith("//")):
            raise ValueError("use disk:FOLDER or s3://BUCKET")
        return given

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, given: SecretStr | None) -> SecretStr | None:
        if given and urlsplit(given.get_secret_value()).scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
            raise ValueError("use postgresql://USER:PASSWORD@HOST/NAME, or leave it out for SQLite in the data folder")
        return given

    @field_validator("redis_url")
    @classmethod
    def _redis_is_known(cls, given: SecretStr | None) -> SecretStr | None:
        if given and urlsplit(given.get_secret_value()).scheme not in {"redis", "rediss"}:
            raise ValueError("use redis://USER:PASSWORD@HOST:PORT, or rediss://... for TLS")
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.time_factor != 1.0 and self.fal_url is None:
            raise ValueError("DARKROOM_TIME_FACTOR is for the sandbox only: unset it, or set DARKROOM_FAL_URL")
        if self.bucket and not (self.s3_access_key_id and self.s3_secret_access_key):
            raise ValueError("a bucket needs DARKROOM_S3_ACCESS_KEY_ID and DARKROOM_S3_SECRET_ACCESS_KEY")
        if self.database_url and self.secret is None:
            raise ValueError(
                "DARKROOM_SECRET has to be set with PostgreSQL, the same on every machine. "
                "Make one: python -c 'import secrets; print(secrets.token_hex(32))'"
            )
        return self

    @property
    def world(self) -> Literal["sandbox", "real"]:
        """Whose pictures these are. The two never share a folder or a database."""
        return "sandbox" if self.fal_url else "real"

    @property
    def home(self) -> Path:
        """The part of the data folder that belongs to this world."""
        return self.data / self.world

    @property
    def database(self) -> str:
        """The database as SQLAlchemy wants to have it said."""
        if self.database_url is None:
            return f"sqlite:///{self.home / 'darkroom.db'}"
        return "postgresql+psycopg://" + self.database_url.get_secret_value().partition("://")[2]

    @property
    def bucket(self) -> str | None:
        return self.storage_url[5:].strip("/") if self.storage_url and self.storage_url.startswith("s3://") else None

    @property
    def files(self) -> Path:
        """The folder files are kept in when there is no bucket."""
        given = self.storage_url or ""
        return Path(given[5:]) / self.world if given.startswith("disk:") else self.home / "files"


def read_settings(**given: Any) -> Settings:
    """The settings from the environment; what is `given` by name, as an option of the command line, goes before it.

    Raises:
        SettingsError: something is missing or wrong.
    """
    given = {name: value for name, value in given.items() if value is not None}
    options = {variable(name): f"--{name}" for name in given} | {name: f"--{name}" for name in given}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(error, options))) from None


def variable(name: str) -> str:
    """The environment variable of a field."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"DARKROOM_{name.upper()}"


def _complaints(error: ValidationError, options: Mapping[str, str]) -> Iterator[str]:
    """Each fault as a line, under the name by which it was given: an option's or a variable's. What was given is not
    repeated: it may be a secret."""
    for fault in error.errors(include_input=False, include_url=False):
        said = fault["msg"].removeprefix("Value error, ")
        where = str(fault["loc"][0]) if fault["loc"] else ""
        name = options.get(where) or (variable(where) if where in Settings.model_fields else where)
        yield f"{name}: {said}." if where else f"{said}."
