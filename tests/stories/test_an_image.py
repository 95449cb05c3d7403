"""Submit once, and the image arrives once, is stored once and paid once."""

import hashlib
import io

import pytest
from PIL import Image

from tests.stories.desk import Desk, follow, log_of, png, problem, taken

LINE = ["job.queued", "job.submitting", "job.submitted", "job.generated", "job.completed"]


def test_an_image_is_made_stored_and_paid_once(desk: Desk) -> None:
    answer = desk.post()
    job = taken(answer, 202)
    assert answer.headers["location"] == job["urls"]["self"]
    assert desk.balance() == (999, 1, 0)
    assert (job["credits"], job["progress"]) == ({"held": 1, "posted": 0}, None)
    job = desk.ended(job)
    done = {"percent": 100, "queue_position": None, "eta_seconds": None, "estimated": False}
    assert job["progress"] == done
    assert (job["status"], job["error"], job["attempt"]) == ("completed", None, 1)
    assert job["credits"] == {"held": 0, "posted": 1}
    assert desk.balance() == (999, 0, 1)
    assert [e for e in desk.told(job) if e not in ("job.started", "job.progress")] == LINE
    [attempt] = desk.attempts(job)
    [post] = desk.posts()
    assert attempt["request_id"] == post["request_id"]
    assert attempt["arguments"] == post["input"]
    assert attempt["cost_micro_usd"] == post["cost_micro_usd"] > 0

    [asset] = job["assets"]
    picture = desk.client.get(asset["url"])
    assert hashlib.sha256(picture.content).hexdigest() == asset["sha256"]
    with Image.open(io.BytesIO(picture.content)) as image:
        assert image.size == (asset["width"], asset["height"]) == (64, 64)
    assert desk.client.get(asset["thumbnail_url"]).headers["content-type"] == "image/webp"
    assert desk.client.get(f"/api/v1/assets/{asset['id']}/content").content == picture.content
    record = desk.get(f"assets/{asset['id']}")
    assert record["provenance"]["model"] == "fal-ai/flux/schnell"
    assert record["provenance"]["made_by_ai"]


def test_one_job_makes_four_images(desk: Desk) -> None:
    job = desk.ended(desk.order(input={"num_images": 4}))
    assert job["credits"] == {"held": 0, "posted": 4}
    assert len({asset["sha256"] for asset in job["assets"]}) == 4
    assert [desk.get(f"assets/{asset['id']}")["output"] for asset in job["assets"]] == [0, 1, 2, 3]
    assert len(desk.posts()) == 1


def test_a_seed_beyond_64_bits_is_kept_to_the_last_digit(desk: Desk) -> None:
    assert desk.ended(desk.order(f"[[seed:{10**25 + 1}]]"))["seed"] == str(10**25 + 1)


def test_prefer_wait_holds_the_answer_until_the_job_has_ended(desk: Desk) -> None:
    prefer = {"Prefer": "wait=30"}
    answer = desk.client.post("/api/v1/jobs", json=desk.request(), headers=prefer)
    job = taken(answer, 200)
    assert answer.headers["preference-applied"] == "wait=30"
    assert job["status"] == "completed"
    assert len(job["assets"]) == 1


def test_prefer_wait_gives_up_in_time_and_the_job_goes_on(desk: Desk) -> None:
    job = taken(desk.client.post("/api/v1/jobs", json=desk.request("[[never]]"), headers={"Prefer": "wait=1"}), 202)
    assert job["status"] in ("submitting", "submitted")
    assert desk.do("cancel", job["id"])["status"] == "cancelled"
    too_long = desk.client.post("/api/v1/jobs", json=desk.request(), headers={"Prefer": "wait=61"})
    assert too_long.headers["preference-applied"] == "wait=60"
    assert taken(too_long, 200)["status"] == "completed"


def test_what_fal_refuses_fails_with_the_reason_and_costs_nothing(desk: Desk) -> None:
    job = desk.ended(desk.order("[[refuse]]"))
    assert job["status"] == "failed"
    assert job["error"]["code"] == "content-refused"
    assert "prompt" in job["error"]["detail"].lower()
    assert desk.balance() == (1000, 0, 0)
    assert len(desk.posts()) == 1


def test_what_fails_at_fal_is_made_again_as_often_as_allowed(desk: Desk) -> None:
    lucky, unlucky = desk.order("[[fail:2]] lucky"), desk.order("[[fail]] unlucky", max_attempts=2)
    assert desk.ended(lucky)["attempt"] == 3
    unlucky = desk.ended(unlucky)
    assert (unlucky["status"], unlucky["attempt"]) == ("failed", 2)
    assert desk.told(unlucky).count("job.retrying") == 1
    assert len(desk.posts()) == 5
    assert desk.balance() == (999, 0, 1)


def test_a_stream_tells_the_whole_story_and_ends(desk: Desk) -> None:
    job = desk.order()
    heard = follow(desk.client, f"/api/v1/jobs/{job['id']}/stream?after=0")
    told = [h.type for h in heard if h.type not in ("job.started", "job.progress")]
    assert [kind for kind in told if kind.startswith("job.")] == LINE
    assert [kind for kind in told if kind.startswith("credits.")] == ["credits.held", "credits.posted"]
    assert told[-1] == "job.completed"
    assert [int(h.id) for h in heard] == sorted({int(h.id) for h in heard})


def test_every_model_of_the_catalogue_makes_its_picture(desk: Desk) -> None:
    picture = taken(desk.client.post("/api/v1/uploads", files={"files": ("part.png", png((128, 128)))}), 201)["data"][0]
    models = desk.get("models")["data"]
    assert len(models) == 15
    jobs = {}
    for model in models:
        references = [picture["id"]] * model["references"]["least"]
        body = {"model": model["id"], "input": model["example"], "reference_images": references}
        jobs[model["id"]] = taken(desk.client.post("/api/v1/jobs", json=body), 202)
    for model, job in jobs.items():
        ended = desk.ended(job, within=40)
        assert ended["status"] == "completed", (model, ended["error"])
        [attempt] = desk.attempts(ended)
        posts = [post for post in log_of(desk.service) if post["request_id"] == attempt["request_id"]]
        assert [post["endpoint"] for post in posts] == [model]
        assert attempt["cost_micro_usd"] > 0
    assert desk.balance()[1] == 0


def test_a_role_stands_for_its_usual_model(desk: Desk) -> None:
    job = desk.ended(taken(desk.client.post("/api/v1/jobs", json={**desk.request(), "model": "text_to_image"})))
    assert (job["model"], job["status"]) == ("fal-ai/flux/schnell", "completed")


@pytest.mark.parametrize(
    ("spell", "code"),
    [
        ("[[no_size]]", None),
        ("[[rerun]]", None),
        ("[[forget]]", None),
        ("[[down]]", "provider-fault"),
        ("[[nsfw]]", "content-refused"),
        ("[[no_media]]", "no-picture"),
        ("[[elsewhere]]", "picture-lost"),
    ],
)
def test_odd_answers_of_fal_end_as_well(desk: Desk, spell: str, code: str | None) -> None:
    job = desk.ended(desk.order(spell, max_attempts=1))
    assert (job["error"] or {}).get("code") == code
    assert job["status"] == ("failed" if code else "completed")
    assert desk.balance()[1] == 0
    assert len(desk.posts()) == 1


def test_nobody_gets_a_picture_without_a_key(desk: Desk) -> None:
    answer = desk.client.post("/api/v1/jobs", json=desk.request(), headers={"Authorization": "Bearer dk_test_nothing"})
    problem(answer, 401, "not-authenticated")
