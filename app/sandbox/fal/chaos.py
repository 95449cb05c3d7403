"""Everything that goes wrong between fal and its customers, by name, each with a probability.

What is going to go wrong with a request is drawn once, when it is submitted, from the sandbox's seed and the number of
the request; so a run can be repeated. A fault is counted when it really happens, not when it is drawn.
Faults of the webhook are small functions that change the plan of letters; the others are asked for by name where they
happen: at submit (`storm_429`, `answer_cut`, `early`), in the run (`completed_but_422`), at download (`slow_cdn`,
`truncated`).
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from app.sandbox.log import Log

MEANINGS = {
    "duplicate": "the webhook comes three times, two of them at the same moment",
    "lost": "the webhook is never sent",
    "late": "the webhook comes ten minutes after completion",
    "early": "the webhook is sent and answered before the submit is answered",
    "tampered": "before the good webhook comes one with a changed body and a signature that does not fit",
    "stranger": "before the good webhook comes one that is truly signed but belongs to another fal user",
    "stale": "the webhook carries an hour-old timestamp, truly signed, and is never signed again",
    "answer_cut": "the submit is accepted, paid, and the connection cut without an answer",
    "completed_but_422": "the run ends COMPLETED with an error and a 422, though the input was fine",
    "null_payload": "the webhook says OK with payload null and a payload_error; the queue has the result",
    "storm_429": "the submit is answered 429, not queued, three times",
    "slow_cdn": "the file trickles, the first two times",
    "truncated": "the file ends early, the first two times",
}
STORM, BAD_DOWNLOADS = 3, 2


@dataclass(frozen=True)
class Letter:
    kind: str = "genuine"
    after: float = 0.0  # fal's seconds to wait before sending
    age: int = 0  # real seconds by which the signed timestamp lies back
    forged: bool = False
    foreign: bool = False
    empty: bool = False
    once: bool = False  # no retries


Plan = list[list[Letter]]  # steps one after the other; the letters of a step at the same moment


def _each(plan: Plan, **changes: object) -> Plan:
    return [[replace(letter, **changes) for letter in step] for step in plan]  # type: ignore[arg-type]


def _duplicate(plan: Plan) -> Plan:
    copy = replace(plan[-1][-1], kind="duplicate", once=True)
    return [*plan[:-1], [*plan[-1], copy], [replace(copy, after=2.0)]]


def _lost(_: Plan) -> Plan:
    return []


def _late(plan: Plan) -> Plan:
    return _each(plan, kind="late", after=600.0)


def _tampered(plan: Plan) -> Plan:
    return [[Letter(kind="tampered", forged=True, once=True)], *plan]


def _stranger(plan: Plan) -> Plan:
    return [[Letter(kind="stranger", foreign=True, once=True)], *plan]


def _stale(plan: Plan) -> Plan:
    return _each(plan, kind="stale", age=3600)


def _null_payload(plan: Plan) -> Plan:
    return _each(plan, kind="null_payload", empty=True)


# The order counts: first what the good letter looks like, then how often it comes, then what comes before it.
PLANS: dict[str, Callable[[Plan], Plan]] = {
    "null_payload": _null_payload,
    "stale": _stale,
    "late": _late,
    "duplicate": _duplicate,
    "lost": _lost,
    "tampered": _tampered,
    "stranger": _stranger,
}


def parse(text: str) -> dict[str, float]:
    """`duplicate,lost=0.3` or `all=0.2` to odds; ValueError names what is unknown."""
    odds: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        odds[name] = float(value or 1.0)
    return spread(odds)


def spread(odds: dict[str, float]) -> dict[str, float]:
    """`all` stands for every name not given itself."""
    if unknown := odds.keys() - MEANINGS.keys() - {"all"}:
        raise ValueError(f"unknown chaos: {', '.join(sorted(unknown))}; known: all, {', '.join(MEANINGS)}")
    if wrong := [name for name, value in odds.items() if not 0 <= value <= 1]:
        raise ValueError(f"a probability lies between 0 and 1: {', '.join(wrong)}")
    if "all" in odds:
        return {name: odds.get(name, odds["all"]) for name in MEANINGS}
    return odds


class Chaos:
    def __init__(self, log: Log, seed: int, odds: dict[str, float]) -> None:
        self._log, self._seed = log, seed
        self.odds = {name: odds.get(name, 0.0) for name in MEANINGS}
        self._storms: Counter[str] = Counter()
        self._submits = 0

    def change(self, odds: dict[str, float]) -> None:
        self.odds.update(spread(odds))

    def draw(self, forced: Iterable[str]) -> list[str]:
        self._submits += 1
        ordinal, wanted = self._submits, set(forced)
        drawn = [name for name, odds in self.odds.items() if name in wanted or self._chance(name, ordinal) < odds]
        return [name for name in drawn if name != "early" or "late" not in drawn]  # nothing is both

    def fired(self, name: str) -> None:
        self._log.count(f"chaos.{name}")

    def storming(self, digest: str, drawn: list[str]) -> bool:
        """A storm, once drawn for an input, refuses it three times and then lets it through."""
        if not self._storms[digest] and "storm_429" not in drawn:
            return False
        self._storms[digest] += 1
        if self._storms[digest] > STORM:
            del self._storms[digest]
            return False
        self.fired("storm_429")
        return True

    def letters(self, drawn: list[str]) -> Plan:
        plan: Plan = [[Letter()]]
        for name, change in PLANS.items():
            if name in drawn:
                plan = change(plan)
                self.fired(name)
        return plan

    def _chance(self, name: str, ordinal: int) -> float:
        return random.Random(f"{self._seed}/{name}/{ordinal}").random()
