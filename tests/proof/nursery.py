"""A process that has loaded the whole program and forks it on demand: a service is born in a tenth of the time it takes
to start one, which is what makes hundreds of deaths affordable.

    with Nursery() as nursery:
        child = nursery.bear(["serve", "--host", "127.0.0.1"], environment, said)

Run as a program, it is the parent of all: it reads orders as lines of JSON and writes births and deaths.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.running import ROOT, clean_environment


class Child:
    """As much of `subprocess.Popen` as a test needs."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    def poll(self) -> int | None:
        return self._nursery.codes.get(self.pid)

    def wait(self, timeout: float = 30.0) -> int:
        """Raises TimeoutError."""
        return self._nursery.code_of(self.pid, timeout)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """May be used by several threads at once."""

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self._born: list[int] = []
        self._news = threading.Condition()
        self._bearing = threading.Lock()

    def __enter__(self) -> Self:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.proof.nursery"],
            cwd=ROOT,
            env=clean_environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.close()
        self._parent.wait(20)
        self._listener.join(20)
        self._parent.stdout.close()

    def bear(self, arguments: Sequence[str], environment: Mapping[str, str], said: Path) -> Child:
        """Another `python -m app` with these arguments."""
        order = {"arguments": list(arguments), "environment": dict(environment), "said": str(said)}
        assert self._parent.stdin
        with self._bearing:
            self._parent.stdin.write(json.dumps(order) + "\n")
            self._parent.stdin.flush()
            with self._news:
                assert self._news.wait_for(lambda: self._born, 20), "the nursery does not answer"
                return Child(self, self._born.pop())

    def code_of(self, pid: int, within: float) -> int:
        with self._news:
            if not self._news.wait_for(lambda: pid in self.codes, within):
                raise TimeoutError(f"process {pid} still runs after {within} s")
            return self.codes[pid]

    def _listen(self) -> None:
        assert self._parent.stdout
        for line in self._parent.stdout:
            told = json.loads(line)
            with self._news:
                if "born" in told:
                    self._born.append(told["born"])
                else:
                    self.codes[told["ended"]] = told["code"]
                self._news.notify_all()


# ----------------------------------------------------------------------------------------------------------------------
# The parent's own program


def main() -> None:
    _learn()
    signal.signal(signal.SIGCHLD, lambda *_: _bury())
    for line in sys.stdin:
        order = json.loads(line)
        # A child that ends at once must not be buried before it is announced.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            _live(order)
        _tell({"born": pid})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    _last_rites()


def _learn() -> None:
    """Load what `serve` loads, so that no child has to. Threads must not be started here."""
    import app.__main__
    import app.adapters.claude
    import app.adapters.fal
    import app.commands.serve
    import app.logs
    import app.main
    import app.store.sqlite  # noqa: F401


def _live(order: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.setsid()
    said = os.open(order["said"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(ours, theirs)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["app", *order["arguments"]]
    code: object = 1
    try:
        from app.__main__ import main

        main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def _bury() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _last_rites() -> None:
    """Whoever gave orders is gone: nobody may outlive us."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in _children():
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


def _tell(news: dict[str, int]) -> None:
    os.write(1, f"{json.dumps(news)}\n".encode())


if __name__ == "__main__":
    main()
