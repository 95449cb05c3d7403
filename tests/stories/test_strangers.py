"""What belongs to somebody else answers like what does not exist."""

from tests.running import Service
from tests.stories.desk import LATER, Desk, pointers, problem


def test_somebody_elses_things_answer_like_missing_ones(desk: Desk, house: Service) -> None:
    with Desk.open(house) as other:
        job, run = other.order(not_before=LATER), other.run("one")
        other.until(run, "completed")
        asset = other.job(run["jobs"][0])["assets"][0]["id"]
        missing = {"job": "job_00000000000000000000000000", "run": "run_00000000000000000000000000"}
        for theirs, none, doings in (
            (f"jobs/{job['id']}", f"jobs/{missing['job']}", ("", "/attempts", "/stream", "!/cancel", "!/retry")),
            (f"runs/{run['id']}", f"runs/{missing['run']}", ("", "/stream", "!/cancel", "!/pause", "!/retry-failed")),
            (f"assets/{asset}", "assets/asset_00000000000000000000000000", ("", "/content")),
        ):
            for doing in doings:
                method = "POST" if doing.startswith("!") else "GET"
                answers = [desk.client.request(method, f"/api/v1/{it}{doing.strip('!')}") for it in (theirs, none)]
                bodies = [problem(answer, 404, "not-found") for answer in answers]
                for body, id_ in zip(bodies, (theirs, none), strict=True):
                    del body["request_id"]
                    body["detail"] = body["detail"].replace(id_.split("/")[1], "it")
                assert bodies[0] == bodies[1]
        body = {"model": "image_to_image", "input": {"prompt": "a scratch"}, "reference_images": [asset]}
        refused = problem(desk.client.post("/api/v1/jobs", json=body), 422, "invalid-request")
        assert pointers(refused) == ["/body/reference_images/0"]
        assert desk.get("jobs", run=run["id"])["data"] == desk.events(job=job["id"]) == []
        assert other.do("cancel", job["id"])["status"] == "cancelled"
