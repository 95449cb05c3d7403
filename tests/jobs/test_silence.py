"""Whether webhooks are silent is asked of each process, and not each has the door."""

from datetime import datetime, timedelta
from pathlib import Path

from app.jobs.model import AttemptRow, AttemptStatus
from app.jobs.reconcile import mind_silence
from tests.home import home_in


async def test_a_worker_hears_of_a_webhook_that_came_to_another_process(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        waiting = await home.submitted()
        assert (await home.send(home.letter(waiting))).status_code == 200
        services = home.services  # from here on it is a worker that has found all completions by looking
        services.standing.found_by_looking = services.rules.silent_after
        services.metrics.gauge("webhooks_silent", 1)

        await home.ended(waiting.job)

        assert services.standing.found_by_looking == 0
        assert b"darkroom_webhooks_silent 0.0" in services.metrics.render()


async def test_what_came_while_nobody_was_there_is_no_silence(tmp_path: Path) -> None:
    async with home_in(tmp_path) as home:
        services, standing = home.services, home.services.standing
        standing.up_since = services.clock.now()
        before, since = (_sent(services.clock.now() + timedelta(seconds=s)) for s in (-1, 1))
        for _ in range(services.rules.silent_after):
            await mind_silence(services, before)
        assert standing.found_by_looking == 0
        for _ in range(services.rules.silent_after):
            await mind_silence(services, since)
        [told] = home.rows("SELECT data FROM events WHERE type = 'notice'")
        assert "--chaos" in told["data"]


def _sent(at: datetime) -> AttemptRow:
    status = AttemptStatus.ACCEPTED
    return AttemptRow(
        id="a", workspace="w", job="j", number=1, endpoint="e", arguments={}, status=status, created_at=at
    )
