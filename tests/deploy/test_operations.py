"""`deploy/OPERATIONS.md`: its commands run as they stand there, and it forgets no metric, no alert and no check. About
25 s."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from app.metrics import COUNTERS, DURATIONS, GAUGES
from app.rules import Rules
from app.store import postgres
from tests.deploy.plans import DEPLOY
from tests.deploy.test_alerts import NAMES
from tests.pages import blocks, section, typed
from tests.running import Service, clean_environment, running

PAGE = DEPLOY / "OPERATIONS.md"
TEXT = PAGE.read_text()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that has made a picture."""
    with running(tmp_path_factory.mktemp("operated"), speed=20) as service:
        asked = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a lamp"}}
        with service.client() as client:
            made = client.post("/api/v1/jobs", json=asked, headers={"Prefer": "wait=30"}).json()
        assert made["status"] == "completed", made
        yield service


def test_every_command_works_as_written(service: Service) -> None:
    given = {"DARKROOM_URL": service.base_url, "DARKROOM_API_KEY": service.key}
    script = "\n".join(blocks(TEXT))

    code, out, err = typed(script, service.folder, clean_environment({**service.environment, **given}))

    said = out + err
    assert code == 0, said
    for expected in ("darkroom_queue_age_seconds 0", '"ready":true', "event: tick", "found 0 wrong"):
        assert expected in said, expected
    assert (service.folder / "elsewhere" / "sandbox" / "darkroom.db").exists()


def test_it_knows_every_alert_and_every_metric() -> None:
    rows = set(re.findall(r"^\| `(Darkroom\w+)` \|", section(PAGE, "### When an alert comes"), re.MULTILINE))
    assert rows == set(NAMES)
    metrics = set(re.findall(r"`(darkroom_\w+)`", section(PAGE, "### Each metric")))
    assert metrics == {f"darkroom_{each.name}" for each in (*COUNTERS, *DURATIONS, *GAUGES)}


def test_it_knows_every_check(service: Service) -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", section(PAGE, "### What `/readyz` says"), re.MULTILINE))
    with service.client() as client:
        checks = json.loads(client.get("/readyz").text)["checks"]
    assert rows == {*checks, "process"}


def test_its_figures_are_those_of_the_code() -> None:
    sizes, rules = section(PAGE, "## Sizing"), Rules()
    connections = postgres._WRITERS + postgres._READERS
    assert f"at most | {connections} | {connections} |" in sizes
    assert f"{rules.streams_open:,}, and {rules.streams_per_workspace:,} for one workspace" in sizes
    assert f"| tasks at once | none | {rules.tasks_at_once} |" in sizes
    assert f"| `room` | less than {rules.least_room // 1_000_000} MB (" in TEXT
    assert f"or less than {rules.least_room // 1_000_000} MB are free where the files are" in TEXT
    hours, days = rules.files_fetched_within / 3600, rules.files_kept / 86400
    assert f"for {hours:g} hours, while our storage is away for {days:g} days" in TEXT
    assert f"the answer is no up to {rules.transfer_tries} times" in TEXT


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#h][^)#]*)", TEXT))))
def test_what_it_links_to_is_there(target: str) -> None:
    assert (DEPLOY / target).exists()


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([^)]+)\)", TEXT))))
def test_what_it_points_at_in_itself_is_there(anchor: str) -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
