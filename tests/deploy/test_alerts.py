"""`deploy/alerts.yaml` asks for what `/metrics` really has: each metric, each label, each value of a label."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml

from app import ports
from app.catalog.failures import FAILURES
from app.credits.model import Account
from app.jobs.lifecycle import JobStatus
from app.metrics import COUNTERS, DURATIONS, GAUGES, Metrics, Series
from app.wiring import FEATURES
from tests.deploy.plans import DEPLOY

RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]
SERIES = {f"darkroom_{each.name}": each for each in (*COUNTERS, *DURATIONS, *GAUGES)}
SELECTOR = re.compile(r"(darkroom_\w+)(?:\{([^}]*(?:\{\w+\}[^}]*)*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
VALUES: dict[tuple[str, str], set[str]] = {
    ("jobs_ended_total", "status"): {str(status) for status in JobStatus},
    ("jobs_ended_total", "code"): {str(code) for code in FAILURES},
    ("attempts_total", "fate"): {kind.__name__.lower() for kind in get_args(ports.Submission)},
    ("webhooks_total", "verdict"): {"forged", "mis-tagged", "stranger", "misdirected"},
    ("key_refreshes_total", "result"): {"failed", "fetched"},
    ("away", "what"): {"provider", "storage", "bus"},
    ("check_ok", "check"): {"bus"},
    ("streams_cut_total", "reason"): {"cut", "rotated", "refused"},
    ("credits", "account"): {str(account) for account in Account},
    ("request_seconds", "route"): {door.path for feature in FEATURES for door in feature.doors},
}
"""What the labels that are asked about may say."""


def asked() -> Iterator[tuple[str, str, str, list[tuple[str, str]]]]:
    """Of each selector: the alert, the metric as asked for, its name without the suffix of a histogram, the labels."""
    for rule in RULES:
        for name, matchers in SELECTOR.findall(rule["expr"]):
            found = [(label, value) for label, _, value in MATCHER.findall(matchers)]
            yield rule["alert"], name, re.sub(r"_(bucket|sum|count)$", "", name), found


def test_each_metric_and_label_exists() -> None:
    for alert, name, metric, matchers in asked():
        assert metric in SERIES, f"{alert}: there is no {metric}"
        series = SERIES[metric]
        assert (metric != name) == (series in DURATIONS), f"{alert}: {name}"
        for label, value in matchers:
            assert label in series.labels, f"{alert}: {metric} has no {label}"
            assert (label == "status" and series.name == "requests_total") or _known(series, label, value), (
                f"{alert}: {value}"
            )


def test_what_is_summed_by_is_a_label_of_what_is_summed() -> None:
    for rule in RULES:
        by = {label for group in re.findall(r"\bby \((.*?)\)", rule["expr"]) for label in group.split(", ")} - {"le"}
        labels = {label for alert, _, metric, _ in asked() if alert == rule["alert"] for label in SERIES[metric].labels}
        assert by <= labels, rule["alert"]
        told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) - {"instance"}
        assert told <= by, rule["alert"]


def test_counters_are_looked_at_as_rates_and_gauges_as_they_are() -> None:
    for rule in RULES:
        for name in re.findall(r"(?:rate|increase)\((darkroom_\w+)", rule["expr"]):
            assert name.endswith(("_total", "_bucket")), name
        for name, _ in SELECTOR.findall(re.sub(r"(rate|increase)\([^)]*\)", "", rule["expr"])):
            assert SERIES[name] in GAUGES, f"{rule['alert']}: {name}"


def test_each_alert_says_whom_it_wakes_and_why() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize(
    "wanted", ["carrying the load", "queue", "parked", "breaker", "away", "provider_extra", "check_ok"]
)
def test_what_must_be_watched_is_watched(wanted: str) -> None:
    said = " ".join(f"{rule['expr']} {rule['annotations']['summary']} {rule['alert']}" for rule in RULES).lower()
    assert wanted in said


def test_the_names_are_those_that_are_told() -> None:
    told = set(re.findall(r"^# TYPE (\w+) ", Metrics().render().decode(), re.MULTILINE))
    assert set(SERIES) <= told | {f"{name}_total" for name in told}


def _known(series: Series, label: str, value: str) -> bool:
    return set(value.split("|")) <= VALUES[series.name, label]
