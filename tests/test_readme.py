"""Every command of the README is run as it stands there: the tour against what `./deploy/dev` starts, the installation
in an empty folder with a sandbox for fal. About 25 s."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest

from tests.pages import ROOT, blocks, section, typed
from tests.running import Program, clean_environment, free_port, sandboxed, schema_of_its_own
from tests.waiting import until_blocking

README = ROOT / "README.md"
TOUR = section(README, "## A tour with curl") + section(README, "## The same from the command line")
REAL = blocks(section(README, "## Running it for real"))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    folder, port = tmp_path_factory.mktemp("tour"), free_port()
    environment = clean_environment(
        {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "DARKROOM_DATA": str(folder / ".darkroom")}
    )
    dev = Program(["app", "dev", "--port", str(port), "--speed", "20"], environment, folder / "said")
    dev.start()
    try:
        until_blocking((folder / ".darkroom" / "sandbox" / "dev-url").exists, within=30)
        yield folder, port
    finally:
        dev.stop()


def test_every_block_of_the_tour_works_as_written(started: tuple[Path, int]) -> None:
    folder, port = started
    script = "\n".join(blocks(TOUR)).replace("localhost:8000", f"localhost:{port}")

    code, out, err = typed(script, folder, {})

    said = out + err
    assert code == 0, said
    assert '"status":"completed"' in said
    assert "event: job.completed" in said
    assert '"code"' not in re.sub(r'"code":\s*"job', "", out), said
    assert list((folder / "pictures").iterdir()), said
    assert len(ZipFile(folder / "boats.zip").namelist()) == 4, "three pictures and what they came from"


def test_an_installation_is_made_as_written_and_makes_pictures(tmp_path: Path) -> None:
    with sandboxed(tmp_path / "box") as fal:
        given = {"DARKROOM_FAL_URL": fal.url, "PORT": str(free_port()), "HOME": str(tmp_path)}
        code, out, err = typed(REAL[0].replace("YOUR-KEY", "sandbox"), tmp_path, clean_environment(given))
        assert code == 0, out + err
        assert "500 credits more" in out
        assert "Acme" in out

        assert REAL[1].strip() == ".venv/bin/darkroom serve"
        serve = Program(
            ["app", "serve", "--host", "127.0.0.1"],
            clean_environment({**given, "DARKROOM_DATA": str(tmp_path / "darkroom")}),
            tmp_path / "said",
        )
        serve.start()
        try:
            until_blocking(lambda: _healthy(int(given["PORT"])), within=30)
            headers = {"Authorization": f"Bearer {(tmp_path / 'darkroom' / 'the-shop.key').read_text().strip()}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{given['PORT']}", headers=headers, timeout=40) as client:
                asked = {"model": "fal-ai/flux/schnell", "input": {"prompt": "a lighthouse"}}
                job = client.post("/api/v1/jobs", json=asked, headers={"Prefer": "wait=30"}).json()
                left = client.get("/api/v1/credits").json()["available"]
        finally:
            serve.stop()
    assert job["status"] == "completed", job
    assert left == 1_000 + 500 - 1


def test_an_installation_is_one_world_from_the_first_line_to_the_last_also_where_a_sandbox_has_been(
    tmp_path: Path,
) -> None:
    sandbox = tmp_path / ".darkroom" / "sandbox"
    sandbox.mkdir(parents=True)
    (sandbox / "darkroom.db").touch()
    block = "".join(line for line in REAL[0].splitlines(keepends=True) if "darkroom doctor" not in line)  # asks fal
    code, out, err = typed(block, tmp_path, clean_environment({"HOME": str(tmp_path)}))
    assert code == 0, out + err
    looked = re.findall("Looking at .*", err)
    assert len(looked) == 4
    assert set(looked) == {f"Looking at the real world in {tmp_path / 'darkroom' / 'real'}."}
    assert (sandbox / "darkroom.db").stat().st_size == 0


def test_many_processes_begin_as_written(tmp_path: Path) -> None:
    with schema_of_its_own() as database:
        script = REAL[2].replace("postgresql://darkroom:PASSWORD@localhost/darkroom", f"'{database}'")
        code, out, err = typed(script, tmp_path, clean_environment({}))
    assert code == 0, out + err
    assert "The database is at" in out


def test_no_block_is_left_out() -> None:
    assert len(REAL) == 3
    assert len(blocks(README.read_text())) == len(blocks(TOUR)) + len(REAL) + 2, "and the two commands of the start"


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False
