"""A service and its oracle, side by side: what both have been told, what there is to choose from, and whether they are
the same.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, initialize

from app.core.errors import IllegalMove, NotEnoughCredits
from app.credits.ledger import grant
from app.jobs.webhook import fal_webhook
from app.services import Services
from app.web.operation import Knock
from tests.proof.bare_house import House
from tests.proof.both_sides import run_checks
from tests.proof.oracle import CREDITS, Attempt, Job, Oracle, Refused
from tests.proof.scripted_fal import letter
from tests.proof.simulated_people import WORKSPACE
from tests.proof.simulated_store import memory_folder


class SideBySide(RuleBasedStateMachine):
    taken: ClassVar[Counter[str]] = Counter()
    """How often each step was, in all histories of this program."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="model-", dir=memory_folder()))
        self.house = House(self.folder / "home")
        self.oracle = Oracle()
        self.told: dict[str, str] = {}  # how each request at fal has ended
        self.letters: dict[tuple[str, str], str] = {}  # completions that wait to be read, by where they came from
        self.known: set[tuple[str, str]] = set()
        self.to_store: list[Job] = []
        self.keys: dict[str, Any] = {}
        self.seq = 0
        self.died_at = 0
        self._grant("xfer_0", CREDITS)
        self.oracle.events.append(("credits.granted", None))
        self._same("begin")

    # Comparing

    def _same(self, step: str) -> None:
        """After every step both are the same."""
        self.taken[step] += 1
        rows, oracle = self.house.rows, self.oracle
        jobs, runs = list(oracle.jobs.values()), list(oracle.runs.values())
        ends = ("completed", "failed", "cancelled")
        new = "SELECT type, coalesce(job, run) FROM events WHERE workspace = ? AND seq > ? ORDER BY seq"
        events = rows(new, WORKSPACE, self.seq)
        for service, model in (
            (
                rows("SELECT available, held, spent FROM balances WHERE workspace = ?", WORKSPACE),
                [(oracle.available, oracle.held, oracle.spent)],
            ),
            (
                rows("SELECT id, status, attempt FROM jobs ORDER BY id"),
                sorted((job.id, job.status, len(job.attempts)) for job in jobs),
            ),
            (
                rows(
                    "SELECT owner, kind FROM transfers WHERE kind IN ('post', 'void') AND owner LIKE 'job%' ORDER BY 1"
                ),
                sorted((job.id, job.hold) for job in jobs if job.hold != "open"),
            ),
            (
                rows("SELECT id, status FROM attempts ORDER BY id"),
                sorted((attempt.id, attempt.status) for job in jobs for attempt in job.attempts),
            ),
            (
                rows("SELECT id, status, completed, failed, cancelled FROM runs ORDER BY id"),
                sorted((run.id, run.status, *(run.count(end) for end in ends)) for run in runs),
            ),
            (events, oracle.events),
        ):
            assert service == model, f"after {step} the service is {service}, the model {model}"
        self.seq += len(events)
        oracle.events.clear()

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        try:
            assert self.house.do(run_checks).wrong == []
        finally:
            self.house.close()
            shutil.rmtree(self.folder)

    # What there is to choose from

    def _one_of(self, some: Sequence[Any], pick: int) -> Any:
        return some[pick % len(some)]

    def _due(self) -> list[Job]:
        return [job for job in self.oracle.jobs.values() if job.due]

    def _attempts(self) -> list[tuple[Job, Attempt]]:
        return [(job, attempt) for job in self.oracle.jobs.values() for attempt in job.attempts]

    def _at_fal(self) -> list[tuple[Job, Attempt]]:
        return [(job, attempt) for job, attempt in self._attempts() if attempt.arrived]

    def _watched(self) -> list[tuple[Job, Attempt]]:
        return [(job, attempt) for job, attempt in self._attempts() if attempt.watched]

    def _untraced(self) -> list[tuple[Job, Attempt]]:
        return [(j, a) for j, a in self._attempts() if a.watched and not a.known and a.status == "sending"]

    # Doing

    def _grant(self, transfer: str, amount: int) -> None:
        self.house.do(lambda services: services.db.write(lambda tx: grant(tx, transfer, WORKSPACE, amount, "")))

    def _answer(self, ask: Callable[[Services], Awaitable[Any]]) -> Any:
        """None: it said no."""
        try:
            return self.house.do(ask)
        except (IllegalMove, NotEnoughCredits):
            return None

    def _agree(self, refused: bool, should: Callable[[], None]) -> None:
        try:
            should()
        except Refused:
            assert refused
        else:
            assert not refused

    def _arrives(self, attempt: str, stamp: str) -> None:
        """A completion is in the inbox, unless it was before."""
        if (attempt, stamp) in self.known:
            return
        self.known.add((attempt, stamp))
        asked = "SELECT id FROM deliveries WHERE attempt = ? AND timestamp = ?"
        [(delivery,)] = self.house.rows(asked, attempt, stamp if stamp.isdigit() else "")
        self.letters[attempt, stamp] = delivery

    def _knock(self, attempt: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Knock:
        async def read(_most: int) -> bytes:
            return body

        return Knock({"attempt": attempt, "tag": self.house.services.tags.sign(attempt)}, headers, read)

    def _call(self, attempt: str, outcome: str, *, forged: bool) -> None:
        if not forged:
            outcome = self.told.setdefault(attempt, outcome)
        now = self.house.services.clock.now()
        headers, body = letter(attempt, outcome, now)
        knock = self._knock(attempt, headers, body + b" " if forged else body)
        answer = self.house.do(lambda services: fal_webhook(services, knock))
        assert answer.status == (401 if forged else 200)
        if not forged:
            self._arrives(attempt, str(int(now.timestamp())))
        self._same("call")
