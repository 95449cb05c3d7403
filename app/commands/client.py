"""Talking to a running service: over HTTP with a key, like anybody else's program."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import httpx

from app.commands.folders import is_running
from app.commands.worlds import WORLDS
from app.settings import Settings, SettingsError, read_settings

TRIES = 5
AWAY = {429, 502, 503, 504}


class Client:
    """What it cannot get is a `SettingsError`, in the words of the service."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        timeout = httpx.Timeout(30.0, read=75.0)
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=timeout)

    def get(self, path: str, **query: Any) -> Any:
        return self._asked("GET", path, params={name: value for name, value in query.items() if value})

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Done once, however often it has to be sent."""
        return self._asked("POST", path, json=body, headers={"Idempotency-Key": secrets.token_hex(16)})

    def upload(self, files: list[Path]) -> list[str]:
        """The ids of the pictures, as assets."""
        try:
            parts = [("files", (file.name, file.read_bytes())) for file in files]
        except OSError as error:
            raise SettingsError(f"{error.filename}: {error.strerror}.") from None
        key = {"Idempotency-Key": secrets.token_hex(16)}
        done = self._asked("POST", "/api/v1/uploads", files=parts, data={"kind": "reference"}, headers=key)
        return [asset["id"] for asset in done["data"]]

    def save(self, url: str, file: Path) -> None:
        """The addresses of pictures are signed, so they are asked for without the key."""
        with httpx.stream("GET", url, timeout=60.0, follow_redirects=True) as answer:
            if answer.status_code != 200:
                raise SettingsError(f"{file.name} could not be fetched ({answer.status_code}).")
            with file.open("wb") as into:
                for chunk in answer.iter_bytes():
                    into.write(chunk)

    def follow(self, path: str, after: int | None) -> Iterator[dict[str, Any]]:
        """Events as they happen. When the line breaks, it goes on after the last one."""
        failures = 0
        while failures < TRIES:
            try:
                for event in self._listen(path, after):
                    failures, after = 0, event.get("seq", after)
                    yield event
            except httpx.TransportError:
                failures += 1
                self._tell_away(failures)
            time.sleep(0.2 * 2**failures)  # noqa: TID251  # a program for one person may wait
        self._away()

    def _listen(self, path: str, after: int | None) -> Iterator[dict[str, Any]]:
        query = {} if after is None else {"after": after}
        with self._http.stream("GET", path, params=query, headers={"Accept": "text/event-stream"}) as answer:
            if answer.status_code != 200:
                answer.read()
                _refuse(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    def _asked(self, method: str, path: str, **request: Any) -> Any:
        for turn in range(1, TRIES + 1):
            try:
                answer = self._http.request(method, path, **request)
            except httpx.TransportError:
                if turn == TRIES:
                    self._away()
                self._tell_away(turn)
            else:
                if answer.status_code not in AWAY or turn == TRIES:
                    return answer.json() if answer.is_success else _refuse(answer)
            time.sleep(0.2 * 2**turn)  # noqa: TID251  # a program for one person may wait
        raise AssertionError("unreachable: the last turn answers or raises")

    def _tell_away(self, turn: int) -> None:
        if turn == 1:
            print(f"{self.url} does not answer; trying again for a few seconds ...", file=sys.stderr, flush=True)

    def _away(self) -> NoReturn:
        raise SettingsError(f"{self.url} does not answer. Is it running? `darkroom dev` starts one here.")


def connect(data: Path | None) -> Client:
    """The service of DARKROOM_URL, else the development instance whose data folder this is."""
    settings = read_settings(data=data)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    url, kept = _development(settings)
    if settings.url and not key and settings.url != url:
        raise SettingsError(f"DARKROOM_URL is {settings.url}; set DARKROOM_API_KEY to a key for it.")
    url, key = settings.url or url, key or kept
    if not url or not key:
        raise SettingsError(
            f"There is no development instance in {settings.data}. Start one with `darkroom dev`, or say whom to ask: "
            "DARKROOM_URL and DARKROOM_API_KEY."
        )
    return Client(url, key)


def _development(settings: Settings) -> tuple[str | None, str | None]:
    """Where `dev` runs, or ran last, and the key it made. The world that runs goes first."""
    for world in sorted(WORLDS, key=lambda world: not is_running(settings.data / world)):
        with suppress(OSError):
            home = settings.data / world
            return (home / "dev-url").read_text().strip(), (home / "dev-key").read_text().strip()
    return None, None


def _refuse(answer: httpx.Response) -> NoReturn:
    try:
        problem = answer.json()
        words = problem["detail"]
    except (ValueError, KeyError):
        raise SettingsError(f"The service answered {answer.status_code}, and nothing that can be read.") from None
    errors = problem.get("errors", ())
    faults = [f"{_spoken(fault['pointer'])}: {fault['detail']}" for fault in errors if fault["detail"] != words]
    if any(words == f"{fault['pointer']}: {fault['detail']}" for fault in errors):  # nothing that the faults do not say
        raise SettingsError("\n".join(faults))
    raise SettingsError("\n  ".join([words, *faults]))


def _spoken(pointer: str) -> str:
    """The field that a JSON pointer names, for a person: "reference images" of /body/reference_images/0."""
    names = [part for part in pointer.split("/")[2:] if not part.isdigit()]
    return (names or ["the request"])[-1].replace("_", " ")
