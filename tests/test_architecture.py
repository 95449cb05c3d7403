"""Rules of the house that no type can hold. Direction is import-linter's: here each of its contracts is shown a planted
breach, because a contract that cannot fail holds nothing. The rest is read off the syntax tree, each rule with planted
breaches of its own."""

import ast
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

Breaches = Iterator[tuple[int, str]]
"""Where a rule is broken, and by what."""

# --- direction ---

PLANTS = {
    "layers: core reaches up": ("layers", {"core/planted.py": "import app.store.planted", "store/planted.py": ""}),
    "layers: jobs know a workflow": (
        "layers",
        {"jobs/planted.py": "from app.workflows import planted", "workflows/planted/__init__.py": ""},
    ),
    "layers: a slice reads settings": ("layers", {"jobs/planted.py": "import app.settings", "settings.py": ""}),
    "layers: a slice picks its adapter": (
        "layers",
        {"jobs/planted.py": "import app.adapters.planted", "adapters/planted.py": ""},
    ),
    "layers: the sandbox knows us": (
        "layers",
        {"sandbox/planted.py": "import app.core.planted", "core/planted.py": ""},
    ),
    "layers: a folder nobody placed": ("layers", {"miscellany/__init__.py": ""}),
    "workflows: one knows another": (
        "workflows",
        {"workflows/one/__init__.py": "import app.workflows.two", "workflows/two/__init__.py": ""},
    ),
    "catalogue: one model knows another": (
        "catalogue",
        {"catalog/one.py": "import app.catalog.two", "catalog/two.py": ""},
    ),
    "vendors: a stage calls fal itself": ("vendors", {"jobs/planted.py": "import fal_client"}),
    "vendors: a late import is still one": (
        "vendors",
        {"vision/planted.py": "def f():\n    from anthropic import types"},
    ),
    "core: a value knows a framework": ("core", {"core/planted.py": "from starlette.requests import Request"}),
    "sandbox: a stage knows it": ("sandbox", {"jobs/planted.py": "from app import sandbox", "sandbox/__init__.py": ""}),
    "sandbox: wiring starts it": ("sandbox", {"wiring.py": "import app.sandbox.planted", "sandbox/planted.py": ""}),
}


@pytest.mark.parametrize(("contract", "files"), PLANTS.values(), ids=PLANTS)
def test_a_planted_import_breaks_its_contract(tmp_path: Path, contract: str, files: dict[str, str]) -> None:
    _copy_of_the_house(tmp_path)
    assert "1 kept, 0 broken" in _lint_imports(tmp_path, contract)

    for name, text in files.items():
        _plant(tmp_path / "app", name, text)

    assert "0 kept, 1 broken" in _lint_imports(tmp_path, contract)


def test_every_contract_has_been_seen_to_break() -> None:
    assert {contract["id"] for contract in CONTRACTS} == {contract for contract, _ in PLANTS.values()}


def _copy_of_the_house(folder: Path) -> None:
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def _plant(app: Path, name: str, text: str) -> None:
    path = app / name
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in path.relative_to(app).parents:
        (app / folder / "__init__.py").touch()
    with path.open("a") as file:
        file.write(f"\n{text}\n")


def _lint_imports(folder: Path, contract: str) -> str:
    run = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    command = [sys.executable, "-c", run, "--no-cache", "--no-logo", "--contract", contract]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


# --- the syntax tree ---

LOOPS = {"", "asyncio", "asyncio.get_running_loop", "loop"}
ENVIRONMENT_READERS = {"app/settings.py"}
ELSEWHERE = ("app/sandbox/", "app/store/migrations/")
"""Other worlds: the sandbox is a program of its own, and migrations are scripts."""

OTHERS = ("app/web/static/swagger/",)
LONGEST_FILE = 300
LONGEST_FUNCTION = 60


def no_base_http_middleware(tree: ast.AST) -> Breaches:
    for node in ast.walk(tree):
        if "BaseHTTPMiddleware" in _names(node):
            yield getattr(node, "lineno", 1), "BaseHTTPMiddleware costs seven times the whole request"


def no_sleep(tree: ast.AST) -> Breaches:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _dotted(node.func) in {"time.sleep", "asyncio.sleep", "sleep", "anyio.sleep"}:
            zero = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            if not zero:
                yield node.lineno, "a test waits on an event, or polls a condition with a deadline"


def writes_are_plain_functions(tree: ast.AST) -> Breaches:
    """A write gets a `def`, so that it cannot await anything while the transaction is open."""
    coroutines = {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_write(node.func) and node.args:
            written = node.args[0]
            if isinstance(written, ast.Call) and _dotted(written.func).endswith("partial") and written.args:
                written = written.args[0]
            if _dotted(written).rpartition(".")[2] in coroutines:
                yield node.lineno, "db.write takes an ordinary function, not a coroutine"


def tasks_have_an_owner(tree: ast.AST) -> Breaches:
    """A task whose handle is thrown away can vanish in the middle of its work."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            owner, _, name = _dotted(node.value.func).rpartition(".")
            if name in {"create_task", "ensure_future"} and owner in LOOPS:
                yield node.lineno, "a task that nobody holds can vanish: keep its handle, or use a TaskGroup"


def no_environment(tree: ast.AST) -> Breaches:
    for node in ast.walk(tree):
        if _dotted(node) in {"os.environ", "os.getenv"} or (
            isinstance(node, ast.ImportFrom) and node.module == "os" and {"environ", "getenv"} & _names(node)
        ):
            yield getattr(node, "lineno", 1), "settings come in as arguments"


def short_enough(tree: ast.AST) -> Breaches:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield node.lineno, f"{node.name} has {lines} lines"


def test_middleware_is_plain_asgi() -> None:
    assert _breaches(no_base_http_middleware, _files("app", "tests")) == []


def test_no_test_sleeps() -> None:
    """Measurements are left out: a load has a pace. So is the simulation: its clock is its own."""
    files = _files("tests", without={"tests/waiting.py"})
    assert (
        _breaches(
            no_sleep,
            (
                f
                for f in files
                if not f[0].startswith(
                    ("tests/bench/", "tests/proof/simulated_", "tests/proof/virtual", "tests/proof/world")
                )
            ),
        )
        == []
    )


def test_a_write_is_an_ordinary_function() -> None:
    assert _breaches(writes_are_plain_functions, _files("app", "tests")) == []


def test_every_task_has_an_owner() -> None:
    assert _breaches(tasks_have_an_owner, _files("app")) == []


def test_only_settings_read_the_environment() -> None:
    assert _breaches(no_environment, _files("app", without=ENVIRONMENT_READERS)) == []


def test_functions_fit_a_screen() -> None:
    assert _breaches(short_enough, _files("app")) == []


def test_files_are_one_thought() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in [*_files("app"), *_page_files("app")]}

    assert {"app/wiring.py", "app/studio/static/cards.js", "app/studio/static/studio.css"} <= lengths.keys()
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


BROKEN = [
    (no_base_http_middleware, "from starlette.middleware.base import BaseHTTPMiddleware"),
    (no_base_http_middleware, "class M(base.BaseHTTPMiddleware): ..."),
    (no_sleep, "await asyncio.sleep(0.1)"),
    (no_sleep, "time.sleep(delay)"),
    (writes_are_plain_functions, "async def put(tx): ...\nawait services.db.write(put)"),
    (writes_are_plain_functions, "async def put(tx, x): ...\nawait db.write(functools.partial(put, x=1))"),
    (tasks_have_an_owner, "asyncio.create_task(work())"),
    (tasks_have_an_owner, "asyncio.get_running_loop().create_task(work())"),
    (no_environment, "key = os.environ['FAL_KEY']"),
    (no_environment, "from os import getenv"),
    (short_enough, "def f():\n" + "    pass\n" * LONGEST_FUNCTION),
]

KEPT = [
    (no_sleep, "await asyncio.sleep(0)"),
    (writes_are_plain_functions, "def put(tx): ...\nawait db.write(put)"),
    (writes_are_plain_functions, "async def body(): ...\nwriter.write(body)"),
    (tasks_have_an_owner, "async with asyncio.TaskGroup() as group:\n    group.create_task(work())"),
    (no_environment, "os.fsync(file)"),
    (short_enough, "def f():\n" + "    pass\n" * (LONGEST_FUNCTION - 1)),
]


@pytest.mark.parametrize(("rule", "code"), BROKEN)
def test_a_planted_breach_is_seen(rule: Callable[[ast.AST], Breaches], code: str) -> None:
    assert list(rule(ast.parse(code)))


@pytest.mark.parametrize(("rule", "code"), KEPT)
def test_what_is_allowed_is_let_be(rule: Callable[[ast.AST], Breaches], code: str) -> None:
    assert list(rule(ast.parse(code))) == []


def _breaches(rule: Callable[[ast.AST], Breaches], files: Iterator[tuple[str, Path]]) -> list[str]:
    return [f"{name}:{line}: {what}" for name, path in files for line, what in rule(_tree(path))]


def _files(*folders: str, without: set[str] | frozenset[str] = frozenset()) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in without and not name.startswith(ELSEWHERE):
                yield name, path


def _page_files(folder: str) -> Iterator[tuple[str, Path]]:
    """The pages' scripts and styles, without those of others."""
    for path in sorted((ROOT / folder).rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in {".js", ".css"} and not name.startswith(OTHERS):
            yield name, path


@cache
def _tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(), str(path))


def _is_write(func: ast.expr) -> bool:
    owner, _, name = _dotted(func).rpartition(".")
    return name in {"write", "hint"} and owner.rpartition(".")[2].lstrip("_") in {"db", "database"}


def _names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.name for alias in node.names}
    return {_dotted(node).rpartition(".")[2]}


def _dotted(node: ast.AST) -> str:
    """`a.b().c` as text, calls left out; nothing for anything else."""
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""
