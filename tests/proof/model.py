"""The service held against its oracle, step by step: hypothesis thinks of what people, fal and death do next, both do
it, and afterwards balances, holds, states, counts and the order of events are the same.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from app.core.idempotency import IdempotencyKey
from app.jobs import api, runs_api
from app.jobs.accept import JobRequest
from app.jobs.accept_run import RunRequest
from app.jobs.model import Policy
from tests.proof.oracle import Job, Run, over
from tests.proof.side_by_side import SideBySide
from tests.proof.simulated_people import ME
from tests.proof.virtual import Gone

STEPS = 50
MODELS = {"fal-ai/flux/schnell": 1, "fal-ai/nano-banana": 3}
"""What a picture costs."""
FATES = ("accepted", "accepted", "accepted", "answer lost", "request lost", "unsent", "turned away", "rejected", "died")
OUTCOMES = ("ok", "ok", "refused", "fault", "fault", "fault")
_jobs = st.builds(
    lambda model, most: JobRequest(model=model, input={"prompt": "a model"}, max_attempts=most),
    st.sampled_from(tuple(MODELS)),
    st.sampled_from((1, 1, 2, 3)),
)
_pick = st.integers(0, 99)


class Model(SideBySide):
    # People

    @rule(request=_jobs, key=st.sampled_from((None, "a", "b", "c")), dies=st.booleans())
    def accept(self, request: JobRequest, key: str | None, dies: bool) -> None:
        """With a key it may have been asked before, or the service may die and be asked once more."""
        if key in self.keys:
            request = self.keys[key]
        intent = IdempotencyKey(key, "the same") if key else None
        ask = lambda services: api.create_job(services, ME, request, intent, None)  # noqa: E731
        view = self._answer(ask)
        if view is not None and key and dies:
            self.house.restart()
            assert self._answer(ask).value.id == view.value.id
        new = Job(view.value.id if view else "", MODELS[request.model], request.max_attempts or 3)
        if new.id not in self.oracle.jobs:
            self._agree(view is None, lambda: self.oracle.accept(new))
            if key and view:
                self.keys[key] = request
        self._same("accept")

    @rule(requests=st.lists(_jobs, min_size=1, max_size=3), policy=st.sampled_from(Policy))
    def accept_run(self, requests: list[JobRequest], policy: Policy) -> None:
        request = RunRequest(policy=policy, jobs=requests)
        view = self._answer(lambda services: runs_api.create_run(services, ME, request, None))
        whole = policy is Policy.ALL_OR_NOTHING
        run = Run(view.value.id if view else "", whole)
        ids = view.value.jobs if view else ["" for _ in requests]
        run.slots = [
            Job(id_, MODELS[each.model], each.max_attempts or 3, run, not whole)
            for id_, each in zip(ids, requests, strict=True)
        ]
        self._agree(view is None, lambda: self.oracle.accept_run(run))
        self._same("accept_run")

    @precondition(lambda self: self.oracle.available < 5)
    @rule(amount=st.integers(1, 20))
    def grant(self, amount: int) -> None:
        self._grant(f"xfer_{self.seq}", amount)
        self.oracle.grant(amount)
        self._same("grant")

    @precondition(lambda self: self.oracle.jobs)
    @rule(pick=_pick)
    def cancel(self, pick: int) -> None:
        job = self._one_of(list(self.oracle.jobs.values()), pick)
        answer = self._answer(lambda services: api.cancel(services, ME, job.id))
        self._agree(answer is None, lambda: self.oracle.cancel(job))
        self._same("cancel")

    @precondition(lambda self: self.oracle.jobs)
    @rule(pick=_pick)
    def retry(self, pick: int) -> None:
        job = self._one_of(list(self.oracle.jobs.values()), pick)
        answer = self._answer(lambda services: api.retry_job(services, ME, job.id, None))
        new = Job(answer.value.id if answer else "", job.price, job.most, job.run, job.pays)
        self._agree(answer is None, lambda: self.oracle.retry(job, new))
        self._same("retry")

    @precondition(lambda self: self.oracle.runs)
    @rule(pick=_pick, deed=st.sampled_from(("pause", "resume", "cancel", "retry failed")))
    def interfere(self, pick: int, deed: str) -> None:
        run = self._one_of(list(self.oracle.runs.values()), pick)
        if deed == "retry failed":
            return self._retry_failed(run)
        act, should = {
            "pause": (runs_api.pause_run, self.oracle.pause),
            "resume": (runs_api.resume_run, self.oracle.resume),
            "cancel": (runs_api.cancel_run, self.oracle.cancel_run),
        }[deed]
        answer = self._answer(lambda services: act(services, ME, run.id))
        self._agree(answer is None, lambda: should(run))
        return self._same(f"run: {deed}")

    def _retry_failed(self, run: Run) -> None:
        old = over(run)
        answer = self._answer(lambda services: runs_api.retry_failed(services, ME, run.id, None))
        ids = dict(self.house.rows("SELECT retry_of, id FROM jobs WHERE run = ? AND retry_of IS NOT NULL", run.id))
        new = [Job(ids.get(job.id, ""), job.price, job.most, run) for job in old]
        self._agree(answer is None, lambda: self.oracle.retry_failed(run, new))
        self._same("run: retry failed")

    # Fal

    @precondition(lambda self: self._due())
    @rule(pick=_pick, fate=st.sampled_from(FATES))
    def send(self, pick: int, fate: str) -> None:
        job = self._one_of(self._due(), pick)
        self.house.fal.fate = fate
        due = "SELECT key FROM tasks WHERE state = 'ready' AND key LIKE ? ORDER BY length(key) DESC, key DESC LIMIT 1"
        [(key,)] = self.house.rows(due, f"jobs.dispatch:{job.id}:%")
        try:
            self.house.work(key)
        except Gone:
            assert fate == "died"
        newest = self.house.rows("SELECT id FROM attempts WHERE job = ? ORDER BY number DESC LIMIT 1", job.id)
        before = len(job.attempts)
        self.oracle.send(job, fate, newest[0][0] if newest else "")
        if len(job.attempts) > before and fate == "rejected":
            self.told[job.attempts[-1].id] = "refused"
            self._arrives(job.attempts[-1].id, "rejected")
        self._same(f"send: {fate}")

    @precondition(lambda self: self._at_fal())
    @rule(pick=_pick, outcome=st.sampled_from(OUTCOMES), forged=st.integers(0, 9))
    def call(self, pick: int, outcome: str, forged: int) -> None:
        """Its webhook comes, as often as it likes, and sometimes it is not fal's."""
        _, attempt = self._one_of(self._at_fal(), pick)
        self._call(attempt.id, outcome, forged=forged == 0)

    @precondition(lambda self: self._watched())
    @rule(pick=_pick, ended=st.booleans(), outcome=st.sampled_from(OUTCOMES))
    def look(self, pick: int, ended: bool, outcome: str) -> None:
        """The reconciler looks by itself."""
        job, attempt = self._one_of(self._watched(), pick)
        ended = attempt.arrived and (ended or attempt.id in self.told)
        finding = self.told.setdefault(attempt.id, outcome) if ended else "running"
        self.house.fal.finding = finding
        self.house.work(f"jobs.reconcile:{attempt.id}")
        if self.oracle.look(job, attempt, finding):
            self._arrives(attempt.id, "look")
        self._same(f"look: {'ended' if ended else 'running'}")

    @precondition(lambda self: self._untraced())
    @rule(pick=_pick)
    def give_up(self, pick: int) -> None:
        """The grace time is over, and fal's list shows nothing of it."""
        job, attempt = self._one_of(self._untraced(), pick)
        self.house.change("UPDATE attempts SET created_at = '2000-01-01 00:00:00.000000' WHERE id = :id", id=attempt.id)
        self.house.fal.lists = False
        self.house.work(f"jobs.reconcile:{attempt.id}")
        self.house.fal.lists = True
        self.oracle.give_up_on(job, attempt)
        self._same("give up")

    # Ourselves

    @precondition(lambda self: self.letters)
    @rule(pick=_pick)
    def read(self, pick: int) -> None:
        attempt_id, _ = where = self._one_of(list(self.letters), pick)
        delivery = self.letters.pop(where)
        self.house.work(f"jobs.ingest:{delivery}")
        job, attempt = next((j, a) for j in self.oracle.jobs.values() for a in j.attempts if a.id == attempt_id)
        was = job.status
        self.oracle.complete(job, attempt, self.told[attempt_id])
        if job.status == "storing" != was:
            self.to_store.append(job)
        self._same("read")

    @precondition(lambda self: self.to_store)
    @rule(pick=_pick, lost=st.integers(0, 4))
    def store(self, pick: int, lost: int) -> None:
        job = self._one_of(self.to_store, pick)
        self.to_store.remove(job)
        self.house.fal.lost = lost == 0
        self.house.work(f"jobs.mirror:{job.id}")
        self.oracle.store(job, lost=lost == 0)
        self._same("store")

    @precondition(lambda self: any(run.unsettled for run in self.oracle.runs.values()))
    @rule(pick=_pick)
    def settle(self, pick: int) -> None:
        run = self._one_of([run for run in self.oracle.runs.values() if run.unsettled], pick)
        self.house.work(f"jobs.settle_run:{run.id}")
        self.oracle.settle(run)
        self._same("settle")

    @precondition(lambda self: self.oracle.jobs)
    @rule(pick=_pick)
    def overdue(self, pick: int) -> None:
        job = self._one_of(list(self.oracle.jobs.values()), pick)
        [(meant,)] = self.house.rows("SELECT deadline_at FROM jobs WHERE id = ?", job.id)
        set_to = "UPDATE jobs SET deadline_at = :at WHERE id = :id"
        self.house.change(set_to, at="2000-01-01 00:00:00.000000", id=job.id)
        self.house.sweep_deadlines()
        self.house.change(set_to, at=meant, id=job.id)
        self.oracle.overdue(job)
        self._same("overdue")

    @precondition(lambda self: self.seq > self.died_at + 9)
    @rule()
    def crash(self) -> None:
        self.house.restart()
        self.died_at = self.seq
        self._same("crash")

    @precondition(lambda self: self.oracle.jobs)
    @rule(picks=st.lists(_pick, min_size=3, max_size=9))
    def go_on(self, picks: list[int]) -> None:
        """What usually happens next: most histories would otherwise end before a picture is there."""
        for pick in picks:
            if self.to_store:
                self.store(pick, 1)
            elif self.letters:
                self.read(pick)
            elif silent := [a.id for _, a in self._at_fal() if a.id not in self.told]:
                self._call(self._one_of(silent, pick), "ok", forged=False)
            elif self._due():
                self.send(pick, "accepted")
