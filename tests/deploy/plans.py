"""What the files of a deployment would start, read out of them: each part with its command and its environment."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<how>:?[-?])(?P<otherwise>[^}]*))?\}")
_BOUND = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Part:
    """One thing that is started. `host` is its name in the addresses of the others, `listens` its port there; `after`
    is what has to be there first, and whether that has to be over by then."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    listens: int | None = None
    after: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Instruction:
    """A line of a container file, with the stage it stands in."""

    stage: int
    word: str
    rest: str

    @property
    def listed(self) -> list[str]:
        """Its arguments, if it is in exec form."""
        found: list[str] = json.loads(self.rest)
        return found


def containerfile() -> list[Instruction]:
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    stage = -1
    found = []
    for line in lines:
        word, _, rest = line.partition(" ")
        stage += word == "FROM"
        found.append(Instruction(stage, word, rest))
    return found


def last(word: str) -> Instruction:
    """What the image ends up with."""
    return next(line for line in reversed(containerfile()) if line.word == word)


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(last("ENV").rest))


def health_check() -> list[str]:
    """The command that says whether a container is well."""
    return Instruction(0, "CMD", last("HEALTHCHECK").rest.partition(" CMD ")[2]).listed


def compose(given: Mapping[str, str]) -> tuple[dict[str, Part], dict[str, Any]]:
    """The services with `given` in the environment of whoever calls compose, and all else that the file says."""
    file = _filled_in(yaml.safe_load((DEPLOY / "compose.yaml").read_text()), given)
    return {name: _service(name, service) for name, service in file["services"].items()}, file


def app_platform(given: Mapping[str, str], bound: Mapping[str, str]) -> Iterator[Part]:
    """What the platform starts before (`jobs`) and for (all else) a deployment. `given` are the values of the secrets,
    `bound` is what the platform knows: `db.DATABASE_URL`, `APP_URL`."""
    spec = app_spec()
    shared = {env["key"]: env.get("value", given.get(env["key"], "")) for env in spec["envs"]}
    environment = {name: _BOUND.sub(lambda m: bound[m[1]], value) for name, value in shared.items()}
    for kind in ("jobs", "services", "workers"):
        for each in spec[kind]:
            count = each.get("autoscaling", {}).get("min_instance_count", each.get("instance_count", 1))
            own = image_environment() | environment | ({"PORT": str(each["http_port"])} if "http_port" in each else {})
            before = {job["name"]: True for job in spec["jobs"]} if kind != "jobs" else {}
            for number in range(1, count + 1):
                name = each["name"] if count == 1 else f"{each['name']}-{number}"
                command = tuple(shlex.split(each["run_command"]))
                yield Part(name, command, own, name, _listening(command, own), before)


def app_spec() -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((DEPLOY / "app.yaml").read_text())
    return spec


def procfile(environment: Mapping[str, str]) -> dict[str, Part]:
    """The platform runs the line `release` before the others, and says PORT."""
    found = {}
    for name, line in (line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines()):
        command = tuple(shlex.split(line))
        before = {} if name == "release" else {"release": True}
        found[name] = Part(name, command, environment, name, _listening(command, environment), before)
    return found


def _service(name: str, service: Mapping[str, Any]) -> Part:
    ours = "build" in service
    command = tuple(service.get("command") or (last("CMD").listed if ours else ()))
    environment = {**(image_environment() if ours else {}), **service.get("environment", {})}
    published = [int(line.rpartition(":")[2]) for line in service.get("ports", ())]
    return Part(
        name,
        command,
        environment,
        service.get("network_mode", "").removeprefix("service:") or name,
        _listening(command, environment) or next(iter(published), None),
        {
            other: how["condition"] == "service_completed_successfully"
            for other, how in service.get("depends_on", {}).items()
        },
    )


def _listening(command: tuple[str, ...], environment: Mapping[str, str]) -> int | None:
    for option in {"--port", "-p"} & set(command):
        return int(command[command.index(option) + 1])
    return int(environment["PORT"]) if "serve" in command else None


def _filled_in(value: Any, given: Mapping[str, str]) -> Any:
    """As compose does it: `-` stands in for what is not set, `:-` also for what is empty, `:?` insists."""

    def fill(match: re.Match[str]) -> str:
        name, how, otherwise = match["name"], match["how"] or "", match["otherwise"]
        if given.get(name) or (name in given and ":" not in how):
            return given[name]
        assert "?" not in how, f"{name} is needed: {otherwise}"
        return otherwise or ""

    if isinstance(value, dict):
        return {key: _filled_in(each, given) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, given) for each in value]
    return _VARIABLE.sub(fill, value) if isinstance(value, str) else value
