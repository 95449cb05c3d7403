"""A finished run is taken home as one ZIP: every picture as it is kept, and what it came from."""

import hashlib
import io
import json
from zipfile import ZIP_STORED, ZipFile

import httpx

from tests.stories.desk import Desk, problem, taken

HOSTILE = "../../../etc/passwd\\..\\evil \r\nX-Evil: 1 \u202egnp.exe"


def opened(answer: httpx.Response) -> ZipFile:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    whole = ZipFile(io.BytesIO(answer.content))
    assert whole.testzip() is None
    return whole


def test_a_run_is_taken_home_whole(desk: Desk) -> None:
    jobs = [
        desk.request(HOSTILE, input={"num_images": 2}),
        desk.request("[[refuse]] no"),
        desk.request("a cup", input={"seed": 7}),
    ]
    run = desk.until(taken(desk.client.post("/api/v1/runs", json={"name": HOSTILE, "jobs": jobs})), "completed")
    first, refused, last = run["jobs"]

    answer = desk.client.get(f"/api/v1/runs/{run['id']}/archive")
    whole = opened(answer)

    assert answer.headers["content-disposition"] == f'attachment; filename="{run["id"]}.zip"'
    assert "no-store" in answer.headers["cache-control"]
    names = [f"0001-{first}-1", f"0001-{first}-2", f"0003-{last}-1"]
    assert [entry.filename.rpartition(".")[0] for entry in whole.infolist()] == [*names, "manifest"]
    assert {entry.compress_type for entry in whole.infolist()} == {ZIP_STORED}
    told = json.loads(whole.read("manifest.json"))
    assert (told["run"], told["name"], told["status"]) == (run["id"], HOSTILE, "completed")
    assert [(job["slot"], job["job"], job["status"], job["prompt"]) for job in told["jobs"]] == [
        (slot, job, status, body["input"]["prompt"])
        for slot, (job, status, body) in enumerate(
            zip((first, refused, last), ("completed", "failed", "completed"), jobs, strict=True)
        )
    ]
    assert told["jobs"][2]["seed"] == "7"
    files = [file for job in told["jobs"] for file in job["files"]]
    assert [file["name"] for file in files] == whole.namelist()[:-1]
    for file in files:
        kept = desk.get(f"assets/{file['asset']}")
        assert hashlib.sha256(whole.read(file["name"])).hexdigest() == file["sha256"] == kept["sha256"]
        assert {name: file[name] for name in ("content_type", "width", "height", "size")} == {
            name: kept[name] for name in ("content_type", "width", "height", "size")
        }


def test_what_is_not_there_is_left_out_and_named(desk: Desk) -> None:
    run = desk.run("a cup", "[[never]]")
    done, waits = run["jobs"]
    desk.until(desk.job(done), "completed")
    [picture] = desk.job(done)["assets"]

    before = opened(desk.client.get(f"/api/v1/runs/{run['id']}/archive"))
    assert len(before.namelist()) == 2
    assert json.loads(before.read("manifest.json"))["jobs"][0]["status"] == "completed"

    assert desk.client.delete(f"/api/v1/assets/{picture['id']}").status_code == 204
    after = opened(desk.client.get(f"/api/v1/runs/{run['id']}/archive"))
    assert after.namelist() == ["manifest.json"]
    [[gone], []] = [job["files"] for job in json.loads(after.read("manifest.json"))["jobs"]]
    assert (gone["name"], gone["asset"], gone["sha256"]) == (None, picture["id"], picture["sha256"])
    desk.do("cancel", waits)


def test_a_slot_holds_the_job_that_was_made_again(desk: Desk) -> None:
    run = desk.run("[[fail:1]] a cup", max_attempts=1)
    failed = desk.until(run, "completed")["jobs"]
    desk.do("retry-failed", run["id"], 202)
    [again] = desk.until(run, "completed")["jobs"]
    assert [again] != failed

    whole = opened(desk.client.get(f"/api/v1/runs/{run['id']}/archive"))

    assert whole.namelist()[0].startswith(f"0001-{again}-1.")


def test_somebody_else_s_run_is_not_there(desk: Desk) -> None:
    run = desk.run("a cup")
    with Desk.open(desk.service) as stranger:
        foreign = problem(stranger.client.get(f"/api/v1/runs/{run['id']}/archive"), 404, "not-found")
        missing = problem(stranger.client.get(f"/api/v1/runs/{run['id'][:-1]}0/archive"), 404, "not-found")
    assert foreign["title"] == missing["title"]
