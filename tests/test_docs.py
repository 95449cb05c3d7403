"""The pages that describe the code are compared with it: tables and diagrams between `<!-- begin x -->` and
`<!-- end x -->` are what the code says. `DARKROOM_WRITE_DOCS=1 pytest tests/test_docs.py` writes them anew."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from app.catalog import MODELS
from app.catalog.failures import FAILURES
from app.catalog.view import describe
from app.core.errors import Problem
from app.metrics import COUNTERS, DURATIONS, GAUGES
from app.sandbox.fal.spells import MEANINGS
from app.settings import Settings, variable
from app.wiring import FEATURES, PROBLEMS
from tests.proof.__main__ import PROOFS

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- begin (?P<name>[a-z:]+) -->\n(?P<body>.*?)<!-- end (?P=name) -->", re.DOTALL)


def lifecycle(subject: str) -> str:
    found = next(each for feature in FEATURES for each in feature.lifecycles if each.subject == subject)
    return f"```mermaid\n{found.diagram()}\n```\n"


def events() -> str:
    rows = ["| event | data | |", "| --- | --- | --- |"]
    for event in sorted((e for feature in FEATURES for e in feature.events), key=lambda e: e.type):
        fields = ", ".join(f"`{name}`" for name in event.model_fields)
        said = " ".join((event.__doc__ or "").split()) if "__doc__" in vars(event) else ""
        rows.append(f"| `{event.type}` | {fields} | {said} |")
    return "\n".join(rows) + "\n"


def errors() -> str:
    rows = ["| slug | status | title | retryable |", "| --- | --- | --- | --- |"]
    kinds = {kind.slug: kind for kind in PROBLEMS if kind is not Problem}
    rows += [
        f"| `{slug}` | {kind.status} | {kind.title()} | {'yes' if kind.retryable else 'no'} |"
        for slug, kind in sorted(kinds.items(), key=lambda item: (item[1].status, item[0]))
    ]
    rows += ["", "A job that failed carries one of these in `error.code`:", ""]
    rows += ["| code | title | what to do |", "| --- | --- | --- |"]
    rows += [f"| `{code}` | {failure.title} | {failure.advice} |" for code, failure in FAILURES.items()]
    return "\n".join(rows) + "\n"


def metrics() -> str:
    rows = ["| metric | labels | |", "| --- | --- | --- |"]
    for series in (*COUNTERS, *DURATIONS, *GAUGES):
        labels = ", ".join(f"`{label}`" for label in series.labels)
        rows.append(f"| `darkroom_{series.name}` | {labels} | {series.help} |")
    return "\n".join(rows) + "\n"


def models() -> str:
    rows = ["| model | roles | credits per picture | references |", "| --- | --- | --- | --- |"]
    for view in map(describe, MODELS):
        taken = "" if not view.references.most else f"{view.references.least} to {view.references.most}"
        roles = ", ".join(f"`{role}`" for role in view.roles)
        rows.append(f"| `{view.id}` | {roles} | {view.price.credits_per_output} | {taken} |")
    return "\n".join(rows) + "\n"


def settings() -> str:
    rows = ["| variable | default | what for |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else f"`{field.default}`"
        rows.append(f"| `{variable(name)}` | {default} | {' '.join((field.description or '').split())} |")
    return "\n".join(rows) + "\n"


def spells() -> str:
    rows = ["| word | what the sandbox does |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| `[[{word}]]` | {meaning} |" for word, meaning in MEANINGS.items())]) + "\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "lifecycle:job": lambda: lifecycle("job"),
    "lifecycle:run": lambda: lifecycle("run"),
    "events": events,
    "errors": errors,
    "metrics": metrics,
    "models": models,
    "settings": settings,
    "spells": spells,
}


@pytest.mark.parametrize("page", ["README.md", "app/README.md"])
def test_the_page_says_what_the_code_says(page: str) -> None:
    text = (ROOT / page).read_text()
    current = BLOCK.sub(lambda m: f"<!-- begin {m['name']} -->\n{BLOCKS[m['name']]()}<!-- end {m['name']} -->", text)
    if os.environ.get("DARKROOM_WRITE_DOCS"):
        (ROOT / page).write_text(current)
    assert text == current or os.environ.get("DARKROOM_WRITE_DOCS")


def test_every_block_stands_in_a_page() -> None:
    pages = "".join((ROOT / page).read_text() for page in ("README.md", "app/README.md"))
    assert {m["name"] for m in BLOCK.finditer(pages)} == BLOCKS.keys()


def test_the_map_of_the_house_has_every_room() -> None:
    text = (ROOT / "app/README.md").read_text()
    [house] = re.findall(r"^## The house\n.*?^```\n(.*?)^```\n", text, re.DOTALL | re.MULTILINE)
    rooms = {name for line in house.splitlines() for name in re.findall(r"\w+", re.match(r"(.*\S) {2,}", line)[1])}  # type: ignore[index]
    there = {path.stem for path in (ROOT / "app").glob("[a-z]*") if path.is_dir() or path.suffix == ".py"}
    assert rooms - {"workflows"} == there - {"workflows"}


def test_what_the_page_of_proofs_names_is_there() -> None:
    page = (ROOT / "tests" / "README.md").read_text()
    tests = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", page)
    assert [name for name in tests if not _is_a_test(*name)] == []
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "| `" in line]
    at_length = {name for row in rows for name in re.findall(r"`(\w+)`", row[2])}
    assert at_length | {"planted", "restore_drill"} == set(PROOFS)
    assert re.findall(r"^\| ([LI]\d+)\. ", page, re.MULTILINE) == [
        *(f"L{n}" for n in range(1, 11)),
        *(f"I{n}" for n in range(1, 27)),
    ]


def _is_a_test(file: str, name: str) -> bool:
    path = ROOT / file if file.startswith("tests/") else ROOT / "tests" / file
    return path.is_file() and (not name or re.search(rf"def {name}\(", path.read_text()) is not None)
