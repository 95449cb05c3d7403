"""A lifecycle: the states a thing can be in, the legal moves between them, and the event each move leaves behind.

Everything that must agree on states is derived from the table of edges: the compare-and-set's allowed sources, the
final states, the database's CHECK, the diagram in `app/README.md` and the buttons a page offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from app.core.errors import IllegalMove

State = TypeVar("State", bound=StrEnum)


@dataclass(frozen=True)
class Edge(Generic[State]):
    """A legal move: from any of `sources` to `target`, recorded as `event`."""

    sources: frozenset[State]
    target: State
    event: str


class Lifecycle(Generic[State]):
    """Built once from its table; refuses a table that contradicts itself.

    Raises:
        ValueError: two edges join the same two states, or a state cannot be reached from the first one.
    """

    def __init__(
        self, subject: str, states: type[State], born: tuple[State, str], edges: Sequence[Edge[State]]
    ) -> None:
        self.subject = subject
        self.states = states
        self.initial, self.birth_event = born
        self.edges = tuple(edges)
        self._edge_between: dict[tuple[State, State], Edge[State]] = {}
        for edge in self.edges:
            for source in edge.sources:
                if (source, edge.target) in self._edge_between:
                    raise ValueError(f"{subject}: two edges from {source} to {edge.target}")
                self._edge_between[source, edge.target] = edge
        self.final: frozenset[State] = frozenset(s for s in states if not self.moves(s))
        if missing := set(states) - self._reached():
            raise ValueError(f"{subject}: no way leads to {', '.join(sorted(missing))}")

    def sources(self, target: State, event: str) -> frozenset[State]:
        """The states from which `event` may lead to `target`: what a compare-and-set compares with."""
        found = frozenset(s for e in self.edges if e.target == target and e.event == event for s in e.sources)
        if not found:
            raise ValueError(f"{self.subject}: no edge to {target} with {event}")
        return found

    def moves(self, state: State) -> tuple[State, ...]:
        """Where a thing in `state` may go next, in the order of the table."""
        return tuple(e.target for e in self.edges if state in e.sources)

    def refusal(self, state: State, target: State) -> IllegalMove:
        """The problem that says why a move is not legal and which ones are."""
        legal = [str(s) for s in self.moves(state)]
        there = f"From {state} it can become: {', '.join(legal)}." if legal else f"{state} is final."
        return IllegalMove(
            f"This {self.subject} is {state} and cannot become {target}. {there}", state=str(state), moves=legal
        )

    def _reached(self) -> set[State]:
        reached, ahead = {self.initial}, [self.initial]
        while ahead:
            new = set(self.moves(ahead.pop())) - reached
            reached |= new
            ahead += new
        return reached

    def events(self) -> frozenset[str]:
        return frozenset({self.birth_event, *(e.event for e in self.edges)})

    def check(self, column: str) -> str:
        """The SQL of a CHECK constraint that admits these states and no others."""
        return f"{column} IN ({', '.join(repr(str(s)) for s in self.states)})"

    def diagram(self) -> str:
        """The table as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial}: {self.birth_event}"]
        lines += [f"    {s} --> {e.target}: {e.event}" for e in self.edges for s in self.states if s in e.sources]
        lines += [f"    {s} --> [*]" for s in self.states if s in self.final]
        return "\n".join(lines)
