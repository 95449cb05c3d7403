"""Watching: a snapshot and the stream from there have no hole between them, over restarts and kills alike."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.inside import violations
from tests.running import Service, running
from tests.stories.desk import Desk, follow, taken
from tests.subscriber import EventSource, Heard
from tests.waiting import until_blocking


def test_a_snapshot_and_the_stream_from_there_have_no_hole(desk: Desk) -> None:
    def watch(n: int) -> None:
        job = desk.order(f"watched {n}")
        seq = desk.job(job["id"])["seq"]
        after = follow(desk.client, f"/api/v1/jobs/{job['id']}/stream?after={seq}")
        every = [event["seq"] for event in desk.events(job=job["id"])]
        assert [seen for seen in every if seen > seq] == [int(heard.id) for heard in after]
        assert after[-1].type == "job.completed"

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(watch, range(12)))


def test_what_has_ended_is_told_and_over(desk: Desk) -> None:
    job = desk.ended(desk.order())
    told = follow(desk.client, f"/api/v1/jobs/{job['id']}/stream?after=0")
    assert told[-1].type == "job.completed"
    late = follow(desk.client, f"/api/v1/jobs/{job['id']}/stream", headers={"Last-Event-ID": told[-2].id})
    assert [heard.id for heard in late] == [told[-1].id]


def test_the_pages_of_json_tell_the_same_as_the_stream(desk: Desk) -> None:
    run = desk.run("one", "two", "three")
    heard = follow(desk.client, "/api/v1/events?after=0", until="run.completed")
    pages = desk.events(limit=7)
    assert [event["seq"] for event in pages] == list(range(1, len(pages) + 1))
    assert [(e["seq"], e["type"], e["data"]) for e in pages[: len(heard)]] == [
        (int(h.id), h.type, h.json["data"]) for h in heard
    ]
    only = desk.events(types=["job.completed", "run.completed"], run=run["id"])
    assert [event["type"] for event in only] == ["job.completed"] * 3 + ["run.completed"]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_reader_who_comes_back_misses_nothing_when_the_service_restarts(tmp_path: Path, how: str) -> None:
    with running(tmp_path, speed=50) as service, Desk.open(service) as desk, ThreadPoolExecutor(1) as pool:
        run = desk.run(*(f"{n} [[slow:{10 * n}]]" for n in range(8)))
        some = Event()
        reading = pool.submit(_persistent, service, run["id"], some)
        assert some.wait(20)
        getattr(service, how)()
        service.start()
        heard = reading.result(60)
        assert [int(h.id) for h in heard] == [event["seq"] for event in desk.events(run=run["id"])][: len(heard)]
        assert heard[-1].type == "run.completed"
        assert desk.balance() == (992, 0, 8)
        assert len(desk.posts()) == 8
        assert service.settings
        assert violations(service.settings) == []


def _persistent(service: Service, run: str, some: Event) -> list[Heard]:
    """Read as a browser does: when the connection ends, come back with the last id seen."""
    source = EventSource(last_id="0")
    path = f"/api/v1/runs/{run}/stream"
    with service.client() as client:
        while not source.events or source.events[-1].type != "run.completed":
            with suppress(httpx.TransportError):
                for data in _pieces(client, path, source.last_id):
                    source.feed(data)
                    if len(source.events) > 12:
                        some.set()
            source = EventSource(source.last_id, events=source.events)  # half a frame is forgotten
            until_blocking(lambda: _alive(client), within=30)
    return source.events


def _pieces(client: httpx.Client, path: str, last_id: str) -> Iterator[bytes]:
    with client.stream("GET", path, headers={"Last-Event-ID": last_id}) as answer:
        if answer.status_code == 200:
            yield from answer.iter_raw()


def _alive(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/healthz").status_code == 200
    return False


def test_a_stream_begins_where_the_header_says_also_beyond_the_end(desk: Desk) -> None:
    desk.ended(desk.order())
    newest = desk.events()[-1]["seq"]
    [reset] = follow(desk.client, "/api/v1/events", headers={"Last-Event-ID": str(newest + 1000)}, most=1)
    assert reset.type == "stream.reset"
    answer = desk.client.get("/api/v1/events", params={"after": 0, "limit": 2})
    assert taken(answer)["next_after"] == 2
