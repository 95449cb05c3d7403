"""A sandbox in a process of its own, unmodified clients pointed at it, and a receiver for its webhooks."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fal_client
import httpx
import pytest

ROOT = Path(__file__).parent.parent.parent
FLUX = "fal-ai/flux/schnell"


@dataclass
class Sandbox:
    process: subprocess.Popen[str]
    info: dict[str, Any]
    http: httpx.Client

    @property
    def url(self) -> str:
        return str(self.info["url"])

    def submit(self, endpoint: str = FLUX, hook: str = "", chaos: str = "", **arguments: Any) -> httpx.Response:
        headers = {"X-Sandbox-Chaos": chaos} if chaos else {}
        query = {"fal_webhook": hook} if hook else {}
        return self.http.post(f"/{endpoint}", params=query, json=arguments, headers=headers)

    def done(self, submitted: dict[str, Any]) -> dict[str, Any]:
        """The last status, once there is one: the status stream ends with the request."""
        self.http.get(f"{submitted['status_url']}/stream")
        return dict(self.http.get(submitted["status_url"]).json())

    def result(self, submitted: dict[str, Any]) -> httpx.Response:
        self.done(submitted)
        return self.http.get(submitted["response_url"])

    def log(self, name: str) -> Any:
        found = self.http.get(f"/_log/{name}").json()
        return found if name == "summary" else found[name]

    def fired(self, name: str) -> int:
        return int(self.log("summary")["chaos_fired"][name])

    def stop(self) -> int:
        self.http.close()
        self.process.terminate()
        code = self.process.wait(timeout=10)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def launch(*options: str) -> Sandbox:
    command = [sys.executable, "-m", "app.sandbox", "--port", "0", "--with-parent", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    info = json.loads(process.stdout.readline())
    headers = {"Authorization": "Key sandbox"}
    return Sandbox(
        process, info, httpx.Client(base_url=info["url"], headers=headers, trust_env=False, verify=False, timeout=20)
    )


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One for all tests that leave nothing behind."""
    box = launch("--speed", "100")
    yield box
    assert box.stop() == 0


@pytest.fixture
def start() -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes of the test's own."""
    started: list[Sandbox] = []

    def begin(*options: str) -> Sandbox:
        started.append(launch(*options))
        return started[-1]

    yield begin
    for box in started:
        box.stop()


@pytest.fixture
def fal(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[fal_client.SyncClient]:
    """Fal's own client, unmodified, pointed here the only way it can be."""
    for name, value in {
        "QUEUE_URL_FORMAT": f"{sandbox.url}/",
        "RUN_URL_FORMAT": f"{sandbox.url}/",
        "REST_URL": sandbox.url,
        "CDN_URL": sandbox.url,
    }.items():
        monkeypatch.setattr(fal_client.client, name, value)
    client = fal_client.SyncClient(key="sandbox")
    yield client
    client._client.close()


@dataclass
class Receiver:
    """Writes down what comes, and answers what it is told to."""

    url: str
    answers: list[int] = field(default_factory=list)  # each once, then 200
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(here.answers.pop(0) if here.answers else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    here = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with contextlib.closing(server.socket):
        yield here
        server.shutdown()
        thread.join()
