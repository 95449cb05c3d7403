"""The ledger against a model of a few lines: whatever comes, in whatever order and at once, both say the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.core.errors import NotEnoughCredits
from app.core.events import Topic
from app.credits.ledger import AlreadyEnded, Hold, NotHeld, grant, hold, post, void
from app.store.write import Tx
from tests.credits.books import balance, sums, violations
from tests.databases import opened, place_for

WORKSPACES = ("one", "two")
NAMES = st.sampled_from([f"{letter}{n}" for letter in "hold" for n in range(3)])
AMOUNTS = st.integers(0, 20)
ORDERS = st.lists(
    st.tuples(st.sampled_from(["grant", "hold", "post", "void"]), st.sampled_from(WORKSPACES), NAMES, AMOUNTS),
    min_size=1,
    max_size=12,
)
Order = tuple[str, str, str, int]


@dataclass
class Model:
    """What the ledger promises, without a database."""

    balances: dict[str, list[int]] = field(default_factory=lambda: {w: [0, 0, 0] for w in WORKSPACES})
    grants: set[str] = field(default_factory=set)
    holds: dict[str, Hold] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def expect(self, order: Order) -> type[Exception] | None:
        """Do it here, and say how it ends."""
        kind, workspace, name, amount = order
        name = f"{workspace} {name}"
        mine = self.balances[workspace]
        if kind == "grant":
            if name not in self.grants:
                self.grants.add(name)
                mine[0] += amount
            return None
        if kind == "hold":
            if mine[0] < amount or not self.grants & {f"{workspace} {n}" for n in _ALL}:
                return NotEnoughCredits
            if name in self.holds:
                return Exception
            self.holds[name] = Hold(name, workspace, amount, "job")
            mine[0] -= amount
            mine[1] += amount
            return None
        if name in self.ended:
            return AlreadyEnded
        if name not in self.holds:
            return NotHeld
        self.ended.add(name)
        used = min(amount, self.holds[name].amount) if kind == "post" else 0
        mine[1] -= self.holds[name].amount
        mine[2] += used
        mine[0] += self.holds[name].amount - used
        return None


_ALL = [f"{letter}{n}" for letter in "hold" for n in range(3)]


def write_of(order: Order, holds: dict[str, Hold]) -> Callable[[Tx], None]:
    kind, workspace, name, amount = order
    name, topic = f"{workspace} {name}", Topic(workspace)
    if kind == "grant":
        return partial(grant, transfer=f"grant {name}", workspace=workspace, amount=amount, reason="")
    if kind == "hold":
        return partial(hold, held=Hold(name, workspace, amount, "job"), topic=topic)
    taken = holds.get(name, Hold(name, workspace, 10**9, "job"))
    if kind == "post":
        return partial(post, held=taken, used=amount, topic=topic)
    return partial(void, held=taken, reason="", topic=topic)


class Ledger(RuleBasedStateMachine):
    """Each step is a handful of writes that arrive in the same moment, as from so many tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.model = Model()
        self.shelf = self.runner.run(self._open())

    async def _open(self) -> Any:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        url = self.stack.enter_context(place_for("sqlite", folder))
        return await self.stack.enter_async_context(opened(url))

    @rule(orders=ORDERS)
    def together(self, orders: Sequence[Order]) -> None:
        expected, writes = [], []
        for order in orders:
            expected.append(self.model.expect(order))
            writes.append(write_of(order, dict(self.model.holds)))
        ends = self.runner.run(self._written(writes))
        for order, wanted, end in zip(orders, expected, ends, strict=True):
            assert end is None if wanted is None else isinstance(end, wanted), (order, wanted, end)

    async def _written(self, writes: Sequence[Callable[[Tx], None]]) -> list[Any]:
        return await asyncio.gather(*map(self.shelf.db.write, writes), return_exceptions=True)

    @invariant()
    def both_say_the_same(self) -> None:
        for workspace in WORKSPACES:
            known = self.runner.run(balance(self.shelf, workspace))
            assert list(known) == self.model.balances[workspace]
        assert set(self.runner.run(sums(self.shelf)).values()) <= {0}
        assert self.runner.run(violations(self.shelf.db)) == []

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
