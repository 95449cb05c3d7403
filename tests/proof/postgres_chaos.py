"""T17: PostgreSQL in trouble while a service and a worker are busy with it: backends killed, the server stopped at once
and restarted, the wire cut in the middle of a COMMIT. Nothing is lost or done twice, and no process of ours has to be
started again.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.contracts.postgres import Cluster, cluster
from tests.inside import newcomer
from tests.proof.both_sides import examine, until_quiet
from tests.proof.customers import customers, not_completed
from tests.proof.fault_proxy import Deed, Fault, FaultProxy, fault_proxy
from tests.proof.scoreboard import Effort, Score
from tests.running import Program, log_lines, running
from tests.waiting import until_blocking

SPEED = 15.0
UNANSWERED = "a commit was not answered"
"""What the log says each time."""
AT_LAST = 300.0
"""Seconds after which what is waited for counts as never coming, however busy the machine is."""
_CUTS_AT_ONCE = 8
"""Of each kind. Most commits have nothing to commit."""
_OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


@dataclass
class Trouble:
    """Everything that can be done to a server, by name."""

    server: Cluster
    wire: FaultProxy
    dice: random.Random
    cuts: list[Fault] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def make(self, name: str) -> None:
        getattr(self, name)()
        self.done[name] += 1

    def backends_ended(self) -> None:
        self._ask(f"SELECT pg_terminate_backend(pid) {_OTHERS}")

    def backend_killed(self) -> None:
        """The postmaster then ends all the others too, and recovers."""
        pids = self._ask(f"SELECT pid {_OTHERS}")
        if pids:
            self.server.kill(self.dice.choice(pids))
        until_blocking(self._answers, AT_LAST)

    def stopped_at_once(self) -> None:
        self.server.stop()
        self.server.start()

    def commits_cut(self) -> None:
        """Some are never heard, some are never answered."""
        deeds: tuple[Deed, ...] = ("cut", "lose the answer")
        for deed in deeds * _CUTS_AT_ONCE:
            self.cuts.append(self.wire.plan(Fault(b"COMMIT", deed)))

    def _ask(self, query: str) -> list[int]:
        engine = create_engine(self.server.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            return [row[0] for row in connection.execute(text(query))]

    def _answers(self) -> bool:
        try:
            return self._ask("SELECT 1") == [1]
        except OperationalError:
            return False

    def rest(self, seconds: float) -> None:
        """Let them work for a while."""
        threading.Event().wait(seconds)


TROUBLES = ("commits_cut", "stopped_at_once", "backends_ended", "commits_cut", "backend_killed")


def prove_postgres_chaos(effort: Effort, folder: Path) -> Iterator[Score]:
    jobs, rounds = effort.of(60, 2_000), effort.of(5, 16)
    shortest, longest = (5.0, 40.0) if effort.full else (0.5, 1.5)
    with ExitStack() as stack:
        server = stack.enter_context(cluster())
        wire = stack.enter_context(fault_proxy(server.port))
        address = server.url.set(port=wire.port).render_as_string(hide_password=False)
        service = stack.enter_context(running(folder, speed=SPEED, database=address, DARKROOM_RUNNER="none"))
        assert service.settings
        service.key = newcomer(service.settings, jobs)
        worker = service.beside("app", "work")
        # One that finds no database when it starts ends, by design, and says so: its supervisor starts it again.
        until_blocking(lambda: "working" in worker.text(), AT_LAST)
        trouble = Trouble(server, wire, random.Random(effort.seed))
        began = [service.process, worker.process]
        with customers(service, jobs=jobs, over=rounds * (shortest + longest) / 2) as book:
            for turn in range(rounds):
                trouble.rest(trouble.dice.uniform(shortest, longest))
                trouble.make(TROUBLES[turn % len(TROUBLES)])
        wire.forget()
        until_quiet(service, AT_LAST)
        verdict = examine(service)
        wrong = [*book.odd, *verdict.wrong, *not_completed(service, book)]
        if len(book.acknowledged) < jobs:
            wrong.append(f"only {len(book.acknowledged)} of {jobs} jobs were acknowledged")
        if began != [service.process, worker.process] or not (service.alive and worker.alive):
            wrong.append("a process of ours ended")
        wrong += [f"a process of ours ended with {code}" for code in (worker.stop(), service.stop()) if code]
        counts = _counted(trouble, [service, worker]) | {"turned away": book.turned_away.total()}
        if not counts["asked what became of it"]:
            wrong.append("no cut fell on a commit, so nothing is known of that")
        yield Score("T17", "PostgreSQL in trouble", {"jobs": jobs, **counts}, wrong)


def _counted(trouble: Trouble, programs: Sequence[Program]) -> dict[str, float]:
    asked = [line for each in programs for line in log_lines(each) if line.get("event") == UNANSWERED]
    return {
        **{name.replace("_", " "): count for name, count in sorted(trouble.done.items())},
        "cut in commit": sum(cut.fired for cut in trouble.cuts),
        "asked what became of it": len(asked),
        "it stood": sum(bool(line["stands"]) for line in asked),
    }
