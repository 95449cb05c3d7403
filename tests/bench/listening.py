"""Somebody who follows the events of a workspace, on a thread of its own."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench import letters


@contextmanager
def listening(port: int, key: str, *, after: int | None = None) -> Iterator[Counter[str]]:
    """A subscriber; how often it heard of each job that it is completed."""
    heard: Counter[str] = Counter()
    with socket.create_connection(("127.0.0.1", port)) as line:
        path = "/api/v1/events" + ("" if after is None else f"?after={after}")
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {key}"}
        line.sendall(letters.request("GET", path, b"", headers))
        frames = line.makefile("rb")
        assert b" 200 " in frames.readline()

        def listen() -> None:
            for frame in frames:
                if b'"type":"job.completed"' in frame:
                    heard[json.loads(frame.removeprefix(b"data: "))["job"]] += 1

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            line.shutdown(socket.SHUT_RDWR)
            thread.join()
