"""What the service counts, as one table; the rest (Prometheus series, the docs) is derived from it. Each `Metrics` has
a registry of its own, so that nothing is shared between services built side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)


@dataclass(frozen=True)
class Series:
    """One metric: its name without the prefix, what it means, and its labels (never a tenant, never an id)."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


COUNTERS = (
    Series("jobs_accepted_total", "Jobs accepted, by model.", ("model",)),
    Series("jobs_ended_total", "Jobs that ended, by state and failure code.", ("status", "code")),
    Series("attempts_total", "Submissions to fal, by what became of them.", ("fate",)),
    Series("webhooks_total", "Calls at the webhook door, by verdict.", ("verdict",)),
    Series("deliveries_total", "Completions taken in, by source and effect.", ("source", "effect")),
    Series("provider_extra_total", "Executions at fal beyond our attempts."),
    Series("key_refreshes_total", "Looks for fal's signing keys, by result.", ("result",)),
    Series(
        "transfer_bytes_total",
        "Bytes moved: in from fal and users, stored in our storage, out to fal and to readers whose bytes we pass on.",
        ("direction",),
    ),
    Series(
        "transfer_failures_total",
        "Transfers of results that broke and were put off: in from fal, or not stored.",
        ("direction",),
    ),
    Series("streams_cut_total", "Streams ended by us, by reason.", ("reason",)),
    Series("requests_total", "HTTP requests, by route, method and status.", ("route", "method", "status")),
    Series("reconciled_total", "Looks at fal by the reconciler, by finding.", ("finding",)),
)
DURATIONS = (
    Series("stage_seconds", "Time spent in one stage of the line.", ("stage",)),
    Series("job_seconds", "From accepted to ended.", ("model", "status")),
    Series("request_seconds", "Time to answer an HTTP request, streams left out.", ("route",)),
)
GAUGES = (
    Series("open_streams", "Event streams open now."),
    Series("tasks_in_hand", "Tasks being worked on in this process."),
    Series("breaker_open", "1 while dispatch is paused because fal turns our key away."),
    Series(
        "away",
        "1 while fal (provider) or the storage (jobs wait) or Redis (bus: news comes later) does not answer.",
        ("what",),
    ),
    Series("check_ok", "1 while this check of /readyz holds.", ("check",)),
    Series("webhooks_silent", "1 while completions are found by looking though webhooks are registered."),
    Series("jobs", "Jobs that have not ended, by state.", ("status",)),
    Series("queue_age_seconds", "Age of the oldest task that is due and not begun."),
    Series("credits", "Credits of all workspaces, by account of the ledger.", ("account",)),
    Series("micro_usd", "Micro-USD that fal bills for all workspaces, by account of the ledger.", ("account",)),
    Series("tasks_parked", "Tasks set aside because their worker died at them or they failed too often."),
)


@dataclass
class Metrics:
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._counters = {s.name: Counter(_full(s), s.help, s.labels, registry=self.registry) for s in COUNTERS}
        self._durations = {
            s.name: Histogram(_full(s), s.help, s.labels, registry=self.registry, buckets=_SECONDS) for s in DURATIONS
        }
        self._children: dict[tuple[str, ...], Any] = {}
        self._gauges = {s.name: Gauge(_full(s), s.help, s.labels, registry=self.registry) for s in GAUGES}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        self._child(self._counters, name, labels).inc(by)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        self._child(self._durations, name, labels).observe(seconds)

    def _child(self, all_: Mapping[str, Any], name: str, labels: dict[str, str]) -> Any:
        """The series of these labels: the library looks longer for one than it takes to count."""
        key = (name, *labels, *labels.values())
        if (child := self._children.get(key)) is None:
            child = self._children[key] = all_[name].labels(**labels) if labels else all_[name]
        return child

    @contextmanager
    def timed(self, name: str, **labels: str) -> Iterator[None]:
        """Observe how long what is done inside takes, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(name, time.perf_counter() - began, **labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def live(self, name: str, read: Callable[[], float]) -> None:
        """Have a gauge without labels read its value at each scrape."""
        self._gauges[name].set_function(read)

    def clear(self, name: str) -> None:
        """Forget the labelled values of a gauge before it is filled anew."""
        self._gauges[name].clear()

    def render(self) -> bytes:
        """The Prometheus text exposition."""
        return generate_latest(self.registry)


def _full(series: Series) -> str:
    return f"darkroom_{series.name}"
