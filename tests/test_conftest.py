"""The guards of `conftest.py`, tried out: in a pytest of its own where a test has to fail."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest


def _pytest(folder: Path, body: str, **env: str) -> str:
    """Run one file of tests under a copy of our conftest and give back what pytest printed."""
    (folder / "conftest.py").write_text(Path(conftest.__file__).read_text())
    (folder / "test_it.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-rsf", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    clean = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean | env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_a_connection_beyond_loopback_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(conftest.LeftLoopbackError):
        sock.connect(("192.0.2.1", 9))

    conftest._departures.clear()


def test_a_name_beyond_this_machine_is_not_looked_up() -> None:
    with pytest.raises(conftest.LeftLoopbackError):
        socket.getaddrinfo("example.invalid", 443)

    conftest._departures.clear()


def test_loopback_and_unix_sockets_are_open(tmp_path: Path) -> None:
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, str(tmp_path / "s"))):
        with socket.socket(family) as server, socket.socket(family) as client:
            server.bind(address)
            server.listen()
            client.connect(server.getsockname())


def test_a_swallowed_departure_still_fails_the_test(tmp_path: Path) -> None:
    body = (
        "import contextlib, socket\n"
        "def test_it():\n"
        "    with contextlib.suppress(Exception):\n"
        "        socket.create_connection(('192.0.2.1', 9))\n"
    )

    assert "1 error" in _pytest(tmp_path, body)


@pytest.mark.parametrize(
    ("skip", "outcome"),
    [
        ("def test_it():\n    pytest.skip('no browser')\n", "1 failed"),
        ("@pytest.mark.skipif(True, reason='no browser')\ndef test_it(): pass\n", "1 error"),
        ("@pytest.fixture\ndef f(): pytest.skip('no browser')\ndef test_it(f): pass\n", "1 error"),
        ("pytest.skip('no browser', allow_module_level=True)\n", "1 error"),
        ("def test_it():\n    pytest.skip('kernel refuses namespaces')\n", "1 skipped"),
        ("@pytest.mark.xfail\ndef test_it():\n    assert 0\n", "1 xfailed"),
    ],
    ids=["call", "mark", "fixture", "module", "kernel", "xfail"],
)
def test_in_ci_only_the_kernel_may_skip(tmp_path: Path, skip: str, outcome: str) -> None:
    assert outcome in _pytest(tmp_path, f"import pytest\n{skip}", CI="true")


def test_outside_ci_a_skip_says_its_reason(tmp_path: Path) -> None:
    printed = _pytest(tmp_path, "import pytest\ndef test_it():\n    pytest.skip('no browser')\n")

    assert "1 skipped" in printed
    assert "no browser" in printed
