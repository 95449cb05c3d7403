"""Customers who ask for one picture after the other while things go wrong: each asks again under the same key until it
is answered, and writes down what it was told. What was acknowledged has to come to its end."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from tests.running import Service
from tests.waiting import until_blocking

_AT_ONCE = 4
_BETWEEN_TRIES = 0.1
_AT_LAST = 300.0
"""Seconds after which an answer counts as never coming, however busy the machine is."""


@dataclass
class Book:
    """`acknowledged`: jobs answered with 202, by the key they were asked under. `turned_away` counts the other answers
    by status, 0 being none; `cut` the requests that were under way when their connection broke; `odd` holds the
    answers that no customer should get. Once `enough` is set, nobody waits."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    turned_away: Counter[int] = field(default_factory=Counter)
    cut: int = 0
    odd: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def heed(self, key: str, answer: httpx.Response) -> bool:
        """Whether the customer is content."""
        if answer.status_code == 202:
            job = answer.json()["id"]
            if self.acknowledged.setdefault(key, job) != job:
                self.odd.append(f"{key} was acknowledged twice: {self.acknowledged[key]} and {job}")
            return True
        self.turned_away[answer.status_code] += 1
        if answer.status_code not in (503, 507, 429) or "retry-after" not in answer.headers:
            self.odd.append(f"{answer.status_code} {answer.text[:300]}")
        return False


@contextmanager
def customers(service: Service, *, jobs: int, over: float = 0.0, words: str = "a gate") -> Iterator[Book]:
    """So many orders in all, spread over so many seconds; leaving waits until the last one is acknowledged."""
    book = Book()
    threads = [
        threading.Thread(target=_ask, args=(service, book, range(me, jobs, _AT_ONCE), over * _AT_ONCE / jobs, words))
        for me in range(_AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    try:
        yield book
        for thread in threads:
            thread.join(_AT_LAST)
    finally:
        book.enough.set()
        for thread in threads:
            thread.join(30)


def _ask(service: Service, book: Book, orders: range, pace: float, words: str) -> None:
    with service.client() as client:
        for order in orders:
            key = uuid.uuid4().hex
            while not book.enough.is_set():
                try:
                    answer = client.post(
                        "/api/v1/jobs", json=request(f"{words} {order}"), headers={"Idempotency-Key": key}
                    )
                except httpx.TransportError as error:
                    book.turned_away[0] += 1
                    book.cut += not isinstance(error, httpx.ConnectError)
                else:
                    if book.heed(key, answer):
                        break
                book.enough.wait(_BETWEEN_TRIES)
            book.enough.wait(pace)


def request(prompt: str) -> dict[str, Any]:
    size = {"width": 64, "height": 64}
    return {"model": "fal-ai/flux/schnell", "input": {"prompt": prompt, "image_size": size}}


def _answered(client: httpx.Client, path: str) -> list[httpx.Response]:
    """Empty while we are told to come again."""
    answer = client.get(path)
    return [] if answer.status_code == 503 else [answer]


def not_completed(service: Service, book: Book) -> list[str]:
    """A sentence for each acknowledged job that is not completed now."""
    wrong = []
    with service.client() as client:
        for job in book.acknowledged.values():
            [found] = until_blocking(partial(_answered, client, f"/api/v1/jobs/{job}"), _AT_LAST)
            if found.json().get("status") != "completed":
                wrong.append(f"{job} was acknowledged and is {found.status_code} {found.text[:300]}")
    return wrong
