import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import app.catalog
from app.catalog import DEFAULTS, MODELS, Catalog, UnknownModel
from app.catalog.spec import Model, Role
from app.core.errors import NotFound

FOLDER = Path(app.catalog.__file__).parent
SHARED = {
    "__init__",
    "error_types",
    "excerpts",
    "failures",
    "fields",
    "outcomes",
    "pricing",
    "reading",
    "shapes",
    "sizes",
    "spec",
    "view",
}
"""What is no model. Everything else in the folder is one."""
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)

every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)


def test_every_file_of_a_model_is_listed_once() -> None:
    listed = [model.input.__module__.rpartition(".")[2] for model in MODELS]

    assert sorted(listed) == MODULES
    assert len({model.id for model in MODELS}) == len(MODELS)


@pytest.mark.parametrize("module", MODULES)
def test_a_model_knows_no_other_model(module: str) -> None:
    tree = ast.parse((FOLDER / f"{module}.py").read_text())

    ours = {name for name in _imported(tree) if name.startswith("app.")}

    assert ours <= {f"app.catalog.{name}" for name in SHARED - {"__init__"}}


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            if node.module == "app.catalog":
                yield from (f"app.catalog.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


@every_model
def test_a_model_is_found_by_its_id_whole_or_short(model: Model) -> None:
    catalog = Catalog()
    short = model.id.removeprefix("fal-ai/")

    assert catalog.get(model.id) is model
    assert catalog.resolve(model.id) is catalog.resolve(short) is model


@pytest.mark.parametrize("role", list(Role))
def test_every_role_has_a_default_that_plays_it(role: Role) -> None:
    model = Catalog().for_role(role)

    assert set(DEFAULTS) == set(Role)
    assert role in model.roles
    assert Catalog().resolve(role.value) is model


def test_an_unknown_model_is_not_found_and_close_names_are_suggested() -> None:
    with pytest.raises(NotFound, match=r"Did you mean flux/schnell"):
        Catalog().get("fal-ai/flux/schnel")


def test_an_unknown_name_in_a_request_points_at_the_field() -> None:
    with pytest.raises(UnknownModel, match=r"Did you mean .*nano-banana") as caught:
        Catalog().resolve("nanobanana")

    assert caught.value.document()["errors"][0]["pointer"] == "/body/model"


@pytest.mark.parametrize("name", ["nope", "nanobanana", "text-to-picture"])
def test_whoever_asks_for_what_is_not_there_is_told_where_the_list_is(name: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        Catalog().resolve(name)
    with pytest.raises(NotFound, match=r"GET /api/v1/models lists"):
        Catalog().get(name)

    [fault] = caught.value.errors
    assert caught.value.detail == fault.detail
    assert fault.detail.endswith("GET /api/v1/models lists what there is.")


def test_a_name_like_none_gets_no_suggestion_and_never_comes_back() -> None:
    with pytest.raises(NotFound) as caught:
        Catalog().get("§" * 100_000)

    assert caught.value.detail == "There is no such model here. GET /api/v1/models lists what there is."


@every_model
def test_references_are_named_as_their_number_needs(model: Model) -> None:
    references = model.references

    assert 0 <= references.least <= references.most
    assert bool(references.fields) is bool(references.most)
    assert len(references.fields) == (1 if references.many else references.most)
    assert (references.least > 0) is not (Role.TEXT_TO_IMAGE in model.roles)


@every_model
def test_the_pace_is_one(model: Model) -> None:
    assert 0 < model.pace.p50 < model.pace.p95
