"""The operator gives credits, to whoever is there."""

from tests.running import Service
from tests.stories.desk import Desk, operators, problem, taken


def test_a_workspace_that_never_had_credits_is_given_some(house: Service) -> None:
    with Desk.open(house, credits=0) as desk, operators(house) as operator:
        workspace = desk.get("me")["workspace"]["id"]
        problem(desk.post(), 402, "not-enough-credits")
        body = {"workspace": workspace, "amount": 7, "reason": "welcome"}
        for replayed in (None, "true"):  # asking twice is asking once
            answer = operator.post("/api/v1/credits/grants", json=body, headers={"Idempotency-Key": desk.tag})
            assert taken(answer, 200)["available"] == 7
            assert answer.headers.get("idempotent-replayed") == replayed
        assert desk.balance() == (7, 0, 0)
        assert desk.ended(desk.order())["status"] == "completed"
        for nobody in ("ws_00000000000000000000000000", "system", "nonsense"):
            answer = operator.post("/api/v1/credits/grants", json={**body, "workspace": nobody})
            problem(answer, 404, "not-found")
